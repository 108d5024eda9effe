// A small PCI device with a DMA engine, and its driver's view of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "agent/kernel/sim_iommu.h"
#include "agent/kernel/sim_machine.h"

namespace nestor::kernel {

// BAR 0 has 64 KiB: registers of 8 bytes each, little endian, that may be written whole or
// in parts, and from kSimDeviceBuffer a buffer of 32 KiB. The engine copies between buffer
// and memory when the command is written, and is done when that write returns. Bus mastering
// is always on; there are no interrupts.
inline constexpr uint64_t kSimDeviceBarSize = 64 * 1024;
inline constexpr uint64_t kSimDeviceBuffer = 0x8000;
inline constexpr uint64_t kSimDeviceBufferSize = 32 * 1024;

// Offsets of the registers. "ro": writes change nothing.
enum SimDeviceRegister : uint64_t {
  // ro: kSimDeviceIdentification.
  kSimRegisterIdentification = 0x00,
  // Bits 19:0 the PASID of requests, bit 31 whether they carry it (else they go through
  // stage 2 alone), bit 30 whether they are privileged (supervisor requests).
  kSimRegisterPasid = 0x08,
  // Where requests begin: a guest virtual address with a PASID, else a guest physical one.
  kSimRegisterAddress = 0x10,
  // Bytes, at most kSimDeviceBufferSize; the buffer is used from its start.
  kSimRegisterLength = 0x18,
  // Writing its low byte starts: 1 reads memory into the buffer, 2 writes the buffer to
  // memory. Reads as the last command.
  kSimRegisterCommand = 0x20,
  // ro: a SimDeviceStatus.
  kSimRegisterStatus = 0x28,
  // ro: the first address that was refused. Pages before it were copied.
  kSimRegisterFaultAddress = 0x30,
  // ro: why, as uapi::IOMMU_FAULT_REASON_*.
  kSimRegisterFaultReason = 0x38,
  // ro: commands done and commands that ended in a fault, since power on.
  kSimRegisterDmaCount = 0x40,
  kSimRegisterFaultCount = 0x48,
};

inline constexpr uint64_t kSimDeviceIdentification = 0x3141'4d44'5254'534e;  // "NSTRDMA1"
inline constexpr uint64_t kSimPasidValid = uint64_t{1} << 31;
inline constexpr uint64_t kSimPasidPrivileged = uint64_t{1} << 30;
inline constexpr uint64_t kSimCommandRead = 1;
inline constexpr uint64_t kSimCommandWrite = 2;

enum SimDeviceStatus : uint64_t {
  kSimStatusIdle = 0,  // no command since reset
  kSimStatusDone = 1,
  kSimStatusFault = 2,  // refused by the IOMMU: see the fault registers
  kSimStatusError = 3,  // unknown command, or a length beyond the buffer
};

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
