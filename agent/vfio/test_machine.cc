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

SimTestMachine::SimTestMachine(const kernel::SimMachine& machine, Road road, Interface interface)
    : machine_(machine),
      interface_(interface),
      kernel_(machine_),
      simkernel_(road == Road::kCalls ? nullptr : std::make_unique<kernel::TestSimkernel>(kernel_)),
      process_(NewProcess()) {}

std::unique_ptr<TestProcess> SimTestMachine::NewProcess() {
  if (simkernel_ == nullptr)
    return std::make_unique<TestProcess>(kernel_.CreateProcess(), interface_);
  return std::make_unique<TestProcess>(simkernel_->Connect(), interface_);
}

std::string SimTestMachine::group_path() const {
  return absl::StrCat("/dev/vfio/", machine_.devices.at(0).iommu_group);
}

std::vector<Bdf> SimTestMachine::devices() const {
  std::vector<Bdf> devices;
  for (const auto& device : machine_.devices) devices.push_back(device.bdf);
  return devices;
}

uint64_t SimTestMachine::scratch_offset() const { return kernel::kSimDeviceBuffer; }

MemoryRegion SimTestMachine::memory() {
  return {.guest_address = 0x1234'0000,
          .size = kMemorySize,
          .user_address = reinterpret_cast<uint64_t>(memory_.get()),
          .writable = true};
}

HeldByKernel SimTestMachine::HeldByType1() const {
  const kernel::SimStatistics statistics = kernel_.Statistics();
  // Each device has a container and a group of its own, and each of the three is one file.
  EXPECT_EQ(statistics.containers, statistics.groups);
  EXPECT_EQ(statistics.descriptors, 3 * statistics.groups);
  HeldByKernel held;
  held.devices = statistics.groups;
  held.pasids = statistics.pasids;
  return held;
}

HeldByKernel SimTestMachine::HeldByIommufd() const {
  const kernel::SimStatistics statistics = kernel_.Statistics();
  EXPECT_EQ(statistics.descriptors, statistics.iommufds + statistics.bound_devices);
  // One that could not be destroyed waits for the next that is.
  EXPECT_GE(statistics.ioases, statistics.bound_devices);
  EXPECT_GE(statistics.hwpts, statistics.bound_devices + statistics.bindings);
  // The device itself is attached always.
  EXPECT_GE(statistics.attachments, statistics.bound_devices);
  if (statistics.bound_devices == 0) {
    EXPECT_EQ(statistics.iommufds + statistics.ioases + statistics.hwpts + statistics.viommus, 0);
  }
  HeldByKernel held;
  held.devices = statistics.bound_devices;
  return held;
}

HeldByKernel SimTestMachine::Held() const {
  if (simkernel_ != nullptr) simkernel_->Settle();
  HeldByKernel held = interface_ == Interface::kType1 ? HeldByType1() : HeldByIommufd();
  held.mappings = kernel_.Statistics().mappings;
  for (const kernel::SimBinding& binding : kernel_.Bindings()) {
    held.roots[{binding.bdf, binding.pasid}] = binding.stage1.root;
  }
  return held;
}

}  // namespace nestor::agent
