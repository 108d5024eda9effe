// Test only: machines on simulated kernels for the implementations of the IOMMU port.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/host_state.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/simkernel/test_simkernel.h"
#include "agent/vfio/iommu_backend.h"
#include "agent/vfio/test_syscalls.h"
#include "agent/vfio/type1_backend.h"

namespace nestor::agent {

// What a kernel holds for its processes, to compare with what they think.
struct HeldByKernel {
  int devices = 0;  // open
  int pasids = 0;   // allocated
  int mappings = 0;
  std::map<BindingKey, uint64_t> roots;
  bool operator==(const HeldByKernel&) const = default;
};
void PrintTo(const HeldByKernel& held, std::ostream* out);

// A machine with at least two usable devices.
class TestMachine {
 public:
  virtual ~TestMachine() = default;
  virtual IommuBackend& backend() = 0;
  virtual std::vector<Bdf> devices() const = 0;
  virtual uint16_t vendor_id() const = 0;
  // Where region 0 of a device keeps what is written.
  virtual uint64_t scratch_offset() const = 0;
  // Guest memory at 0x12340000.
  virtual MemoryRegion memory() = 0;
  virtual HeldByKernel Held() const = 0;
};

// A process with the type1 backend, whose system calls can be watched.
class Type1TestProcess {
 public:
  explicit Type1TestProcess(std::unique_ptr<kernel::Syscalls> process)
      : process_(std::move(process)), syscalls_(*process_), backend_(syscalls_) {}
  TestSyscalls& syscalls() { return syscalls_; }
  Type1Backend& backend() { return backend_; }

 private:
  const std::unique_ptr<kernel::Syscalls> process_;
  TestSyscalls syscalls_;
  Type1Backend backend_;
};

// A simulated kernel of the nesting series, unless told otherwise, and one process.
class Type1TestMachine final : public TestMachine {
 public:
  // How processes reach the kernel: by function calls, or over the sockets of nestor-simkernel.
  enum class Road { kCalls, kSockets };

  explicit Type1TestMachine(const kernel::SimMachine& machine = kernel::DefaultSimMachine(2),
                            Road road = Road::kCalls);

  // On the road of sockets each has descriptors of its own, but all have one address space.
  std::unique_ptr<Type1TestProcess> NewProcess();
  TestSyscalls& syscalls() { return process_->syscalls(); }
  // The node of the first device's group.
  std::string group_path() const;

  IommuBackend& backend() override { return process_->backend(); }
  std::vector<Bdf> devices() const override;
  uint16_t vendor_id() const override { return machine_.devices.at(0).vendor_id; }
  uint64_t scratch_offset() const override;
  MemoryRegion memory() override;
  HeldByKernel Held() const override;

 private:
  static constexpr size_t kMemorySize = 64 * 1024;
  struct alignas(4096) Memory {
    std::array<std::byte, kMemorySize> bytes;
  };

  const kernel::SimMachine machine_;
  const std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  kernel::SimKernel kernel_;
  const std::unique_ptr<kernel::TestSimkernel> simkernel_;  // null: function calls
  const std::unique_ptr<Type1TestProcess> process_;
};

inline std::unique_ptr<TestMachine> MakeType1TestMachine() {
  return std::make_unique<Type1TestMachine>();
}
inline std::unique_ptr<TestMachine> MakeType1SimkernelTestMachine() {
  return std::make_unique<Type1TestMachine>(kernel::DefaultSimMachine(2),
                                            Type1TestMachine::Road::kSockets);
}

}  // namespace nestor::agent
