#include "tests/fault/fault_machine.h"

#include <sys/mman.h>

#include "agent/vfio/type1_backend.h"

namespace nestor::fault {

void PrintTo(const Interface& its, std::ostream* out) { *out << its.name; }

std::vector<Interface> Interfaces() {
  return {{"type1", kernel::DefaultSimMachine(2), [](kernel::Syscalls& syscalls) {
             return std::make_unique<agent::Type1Backend>(syscalls);
           }}};
}

FaultMachine::FaultMachine(const Interface& its)
    : memory_(
          mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
      kernel_(its.machine),
      process_(kernel_.CreateProcess()),
      syscalls_(*process_),
      backend_(its.make_backend(syscalls_)) {}

FaultMachine::~FaultMachine() { munmap(memory_, kMemorySize); }

bool FaultMachine::HoldsNothing() const {
  const kernel::SimStatistics statistics = kernel_.Statistics();
  return statistics.descriptors == 0 && statistics.containers == 0 && statistics.groups == 0 &&
         statistics.pasid_sets == 0 && statistics.pasids == 0 && statistics.bindings == 0 &&
         statistics.mappings == 0;
}

std::map<agent::BindingKey, uint64_t> FaultMachine::Roots() const {
  std::map<agent::BindingKey, uint64_t> roots;
  for (const kernel::SimBinding& binding : kernel_.Bindings()) {
    roots[{binding.bdf, binding.pasid}] = binding.stage1.root;
  }
  return roots;
}

}  // namespace nestor::fault
