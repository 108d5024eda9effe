// A small PCI device with a DMA engine, and its driver's view of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "agent/kernel/dma_engine_registers.h"
#include "agent/kernel/sim_iommu.h"
#include "agent/kernel/sim_machine.h"

namespace nestor::kernel {

// One such device. Not thread-safe.
class SimDevice {
 public:
  static constexpr uint64_t kConfigSize = 4096;

  // Device number `index` of `machine`; both references must outlive this.
  SimDevice(const SimMachine& machine, int index, SimIommu& iommu);

  // Reads and writes that lie inside BAR 0.
  void ReadBar(uint64_t offset, void* buffer, size_t size) const;
  void WriteBar(uint64_t offset, const void* buffer, size_t size);
  // The same inside configuration space. Of that, only the command register, BAR 0's address
  // and the interrupt line can be written.
  void ReadConfig(uint64_t offset, void* buffer, size_t size) const;
  void WriteConfig(uint64_t offset, const void* buffer, size_t size);
  // A function level reset: registers, buffer and configuration are as after power on, the
  // counters stay. The IOMMU knows nothing of it.
  void Reset();
  // Whether the function can be asked for that.
  bool has_reset() const { return description_.has_reset; }

  uint64_t dma_count() const { return Register(kSimRegisterDmaCount); }
  uint64_t fault_count() const { return Register(kSimRegisterFaultCount); }

 private:
  uint64_t Register(uint64_t offset) const;
  void SetRegister(uint64_t offset, uint64_t value);
  void FillConfig();
  void SetConfig(uint64_t offset, uint64_t value, size_t size);
  void RunCommand();
  // The first address that was refused, if one was.
  std::optional<uint64_t> Transfer(uint64_t command);

  const SimDeviceDescription& description_;
  const int index_;
  SimIommu& iommu_;
  std::array<uint8_t, kSimDeviceBarSize> bar_{};
  std::array<uint8_t, kConfigSize> config_{};
};

}  // namespace nestor::kernel
