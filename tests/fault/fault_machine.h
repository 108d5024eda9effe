// A simulated host of which system calls fail or hang, for each kernel interface.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "agent/core/host_state.h"
#include "agent/kernel/faulty_syscalls.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::fault {

// A kernel interface: the machine that offers it, and what drives it.
struct Interface {
  std::string name;
  kernel::SimMachine machine;
  std::function<std::unique_ptr<agent::IommuBackend>(kernel::Syscalls&)> make_backend;
};
void PrintTo(const Interface& its, std::ostream* out);

// Every one that Nestor knows.
std::vector<Interface> Interfaces();

// The machine, booted, and a process on it whose calls can fail. Its devices are those of
// DefaultSimMachine(2).
class FaultMachine {
 public:
  static constexpr uint64_t kMemorySize = 0x10000;

  explicit FaultMachine(const Interface& its);
  ~FaultMachine();

  kernel::FaultySyscalls& syscalls() { return syscalls_; }
  agent::IommuBackend& backend() { return *backend_; }
  kernel::SimKernel& kernel() { return kernel_; }
  // Guest memory, mapped in this process.
  uint64_t memory() const { return reinterpret_cast<uint64_t>(memory_); }

  // Whether everything that a process can hold is gone.
  bool HoldsNothing() const;
  // What the kernel's bindings are: device, PASID and root.
  std::map<agent::BindingKey, uint64_t> Roots() const;

 private:
  void* const memory_;
  kernel::SimKernel kernel_;
  const std::unique_ptr<kernel::SimProcess> process_;
  kernel::FaultySyscalls syscalls_;
  const std::unique_ptr<agent::IommuBackend> backend_;
};

}  // namespace nestor::fault
