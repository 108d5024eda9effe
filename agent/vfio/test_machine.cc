#include "agent/vfio/test_machine.h"

#include "absl/strings/str_cat.h"
#include "agent/kernel/sim_device.h"
#include "gtest/gtest.h"

namespace nestor::agent {

void PrintTo(const HeldByKernel& held, std::ostream* out) {
  *out << held.devices << " devices, " << held.pasids << " PASIDs, " << held.mappings
       << " mappings";
  for (const auto& [key, root] : held.roots) {
    *out << ", " << key.device << " pasid " << key.pasid << " root " << root;
  }
}

Type1TestMachine::Type1TestMachine(const kernel::SimMachine& machine, Road road)
    : machine_(machine),
      kernel_(machine_),
      simkernel_(road == Road::kCalls ? nullptr : std::make_unique<kernel::TestSimkernel>(kernel_)),
      process_(NewProcess()) {}

std::unique_ptr<Type1TestProcess> Type1TestMachine::NewProcess() {
  if (simkernel_ == nullptr) return std::make_unique<Type1TestProcess>(kernel_.CreateProcess());
  return std::make_unique<Type1TestProcess>(simkernel_->Connect());
}

std::string Type1TestMachine::group_path() const {
  return absl::StrCat("/dev/vfio/", machine_.devices.at(0).iommu_group);
}

std::vector<Bdf> Type1TestMachine::devices() const {
  std::vector<Bdf> devices;
  for (const auto& device : machine_.devices) devices.push_back(device.bdf);
  return devices;
}

uint64_t Type1TestMachine::scratch_offset() const { return kernel::kSimDeviceBuffer; }

MemoryRegion Type1TestMachine::memory() {
  return {.guest_address = 0x1234'0000,
          .size = kMemorySize,
          .user_address = reinterpret_cast<uint64_t>(memory_.get()),
          .writable = true};
}

HeldByKernel Type1TestMachine::Held() const {
  if (simkernel_ != nullptr) simkernel_->Settle();
  const kernel::SimStatistics statistics = kernel_.Statistics();
  // Each device has a container and a group of its own, and each of the three is one file.
  EXPECT_EQ(statistics.containers, statistics.groups);
  EXPECT_EQ(statistics.descriptors, 3 * statistics.groups);
  HeldByKernel held;
  held.devices = statistics.groups;
  held.pasids = statistics.pasids;
  held.mappings = statistics.mappings;
  for (const kernel::SimBinding& binding : kernel_.Bindings()) {
    held.roots[{binding.bdf, binding.pasid}] = binding.stage1.root;
  }
  return held;
}

}  // namespace nestor::agent
