// What the agent reads of a real kernel's sysfs.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "agent/vfio/pci_inventory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernel/edu_device.h"
#include "tests/kernel/guest_machine.h"

namespace nestor::kernel_test {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Optional;
using ::testing::SizeIs;

class InventoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (EduFunctions().empty()) GTEST_SKIP() << "no PCI";
  }
};

TEST_F(InventoryTest, EduDevicesAreFoundWithDriverAndGroup) {
  const std::vector<agent::PciFunction> functions = EduFunctions();
  ASSERT_THAT(functions, SizeIs(3));
  for (const agent::PciFunction& function : functions) {
    EXPECT_EQ(function.driver, agent::kVfioPciDriver);
    EXPECT_EQ(function.class_code, 0x00ff00u);
    EXPECT_THAT(function.iommu_group, Ge(0));
    EXPECT_THAT(function.pasid_bits, Optional(Eq(0u))) << "an edu has no PASID capability";
  }
}

TEST_F(InventoryTest, FunctionsOfOneSlotShareAGroup) {
  const std::vector<agent::PciFunction> functions = EduFunctions();
  ASSERT_THAT(functions, SizeIs(3));
  EXPECT_THAT(functions[0].group_siblings, IsEmpty());
  EXPECT_THAT(functions[1].group_siblings, ElementsAre(functions[2].bdf));
  EXPECT_THAT(functions[2].group_siblings, ElementsAre(functions[1].bdf));
}

TEST_F(InventoryTest, FilterLeavesWhatIsBoundToVfio) {
  const auto all = agent::ListPciFunctions(Linux(), agent::PciFilter::kAll);
  const auto vfio = agent::ListPciFunctions(Linux(), agent::PciFilter::kVfio);
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_TRUE(vfio.ok()) << vfio.status();
  EXPECT_EQ(*vfio, EduFunctions());
  EXPECT_GT(all->size(), vfio->size()) << "the machine has a host bridge";
}

TEST(KernelIdentityTest, BootIdIsAUuid) {
  const absl::StatusOr<std::string> boot_id = agent::BootId(Linux());
  ASSERT_TRUE(boot_id.ok()) << boot_id.status();
  EXPECT_THAT(*boot_id, MatchesRegex("[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+"));
}

}  // namespace
}  // namespace nestor::kernel_test
