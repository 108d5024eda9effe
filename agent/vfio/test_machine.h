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
#include "agent/vfio/iommufd_backend.h"
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

// The kernel's interface that a process uses.
enum class Interface { kType1, kIommufd };

// A process with a backend, whose system calls can be watched.
class TestProcess {
 public:
  TestProcess(std::unique_ptr<kernel::Syscalls> process, Interface interface)
      : process_(std::move(process)), syscalls_(*process_) {
    if (interface == Interface::kType1) backend_ = std::make_unique<Type1Backend>(syscalls_);
    if (interface == Interface::kIommufd) backend_ = std::make_unique<IommufdBackend>(syscalls_);
  }
  TestSyscalls& syscalls() { return syscalls_; }
  IommuBackend& backend() { return *backend_; }

 private:
  const std::unique_ptr<kernel::Syscalls> process_;
  TestSyscalls syscalls_;
  std::unique_ptr<IommuBackend> backend_;
};

// A simulated kernel of the nesting series, unless told otherwise, and one process.
class SimTestMachine final : public TestMachine {
 public:
  // How processes reach the kernel: by function calls, or over the sockets of nestor-simkernel.
  enum class Road { kCalls, kSockets };

  explicit SimTestMachine(const kernel::SimMachine& machine = kernel::DefaultSimMachine(2),
                          Road road = Road::kCalls, Interface interface = Interface::kType1);

  // On the road of sockets each has descriptors of its own, but all have one address space.
  std::unique_ptr<TestProcess> NewProcess();
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

  HeldByKernel HeldByType1() const;
  HeldByKernel HeldByIommufd() const;

  const kernel::SimMachine machine_;
  const Interface interface_;
  const std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  kernel::SimKernel kernel_;
  const std::unique_ptr<kernel::TestSimkernel> simkernel_;  // null: function calls
  const std::unique_ptr<TestProcess> process_;
};

// A kernel with iommufd.
inline kernel::SimMachine Linux72Machine() {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.personality = kernel::SimPersonality::kLinux7_2;
  return machine;
}

// Machines on which PASIDs nest, inside the test and as another process.
inline std::unique_ptr<TestMachine> MakeType1Machine() {
  return std::make_unique<SimTestMachine>();
}
inline std::unique_ptr<TestMachine> MakeType1SocketMachine() {
  return std::make_unique<SimTestMachine>(kernel::DefaultSimMachine(2),
                                          SimTestMachine::Road::kSockets);
}
inline std::unique_ptr<TestMachine> MakeIommufdMachine() {
  return std::make_unique<SimTestMachine>(Linux72Machine(), SimTestMachine::Road::kCalls,
                                          Interface::kIommufd);
}
inline std::unique_ptr<TestMachine> MakeIommufdSocketMachine() {
  return std::make_unique<SimTestMachine>(Linux72Machine(), SimTestMachine::Road::kSockets,
                                          Interface::kIommufd);
}

}  // namespace nestor::agent
