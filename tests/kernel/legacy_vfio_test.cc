// VFIO with groups and containers on a real kernel: its answers are the simulated kernel's, and
// a device's DMA goes where the mapping says.
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/test_page_table.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/vfio_device.h"
#include "agent/vfio/vfio_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernel/edu_device.h"
#include "tests/kernel/guest_machine.h"
#include "tests/kernel/legacy_answers.h"

namespace nestor::kernel_test {
namespace {

namespace uapi = kernel::uapi;

using ::testing::ElementsAreArray;

constexpr uint64_t kPage = 4096;

class LegacyVfioTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (EduFunctions().empty()) GTEST_SKIP() << "no PCI";
    if (access("/dev/vfio/vfio", F_OK) != 0) GTEST_SKIP() << "no /dev/vfio/vfio";
  }
};

// The simulated kernel of the same age, with the same device in the same group.
std::vector<std::string> AskSimulatedKernel(const agent::PciFunction& function) {
  const int container = Linux().Open("/dev/vfio/vfio", O_RDWR);
  const bool knows_nesting =
      Linux().Ioctl(container, uapi::VFIO_CHECK_EXTENSION, uapi::VFIO_TYPE1_NESTING_IOMMU) == 1;
  Linux().Close(container);
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.personality =
      knows_nesting ? kernel::SimPersonality::kLinux6_12 : kernel::SimPersonality::kLinux7_2;
  machine.devices[0].bdf = function.bdf;
  machine.devices[0].iommu_group = function.iommu_group;
  kernel::SimKernel kernel(machine);
  return AskLegacyVfio(*kernel.CreateProcess(), function.bdf, function.iommu_group);
}

TEST_F(LegacyVfioTest, SimulatedKernelAnswersAsThisOne) {
  const agent::PciFunction edu = LoneEdu();
  EXPECT_THAT(AskSimulatedKernel(edu),
              ElementsAreArray(AskLegacyVfio(Linux(), edu.bdf, edu.iommu_group)));
}

// A container whose device does DMA.
class EduMachine {
 public:
  EduMachine() : function_(LoneEdu()), container_(Linux(), function_.iommu_group) {
    EXPECT_EQ(container_.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
    const int fd = Linux().IoctlPointer(container_.group(), uapi::VFIO_GROUP_GET_DEVICE_FD,
                                        function_.bdf.data());
    EXPECT_GE(fd, 0);
    absl::StatusOr<EduDevice> edu =
        EduDevice::Start(agent::VfioDevice(Linux(), agent::VfioFile(Linux(), fd, function_.bdf)));
    EXPECT_TRUE(edu.ok()) << edu.status();
    edu_ = std::make_unique<EduDevice>(*std::move(edu));
  }

  kernel::TestContainer& container() { return container_; }
  EduDevice& edu() { return *edu_; }

 private:
  agent::PciFunction function_;
  kernel::TestContainer container_;
  std::unique_ptr<EduDevice> edu_;
};

TEST_F(LegacyVfioTest, DmaReachesMappedMemory) {
  EduMachine machine;
  const kernel::TestRam source(0x100000, kPage);
  const kernel::TestRam target(0x200000, kPage);
  source.Write(0x100010, "read by the device");
  ASSERT_EQ(machine.container().Map(source), 0);
  ASSERT_EQ(machine.container().Map(target), 0);
  ASSERT_TRUE(machine.edu().Fetch(0x100010, 18).ok());
  ASSERT_TRUE(machine.edu().Store(0x200020, 18).ok());
  EXPECT_EQ(target.Read(0x200020, 18), "read by the device");
}

TEST_F(LegacyVfioTest, DmaAfterUnmapReachesNothing) {
  EduMachine machine;
  const kernel::TestRam source(0x100000, kPage);
  const kernel::TestRam target(0x200000, kPage);
  source.Write(0x100000, "before");
  ASSERT_EQ(machine.container().Map(source), 0);
  ASSERT_EQ(machine.container().Map(target), 0);
  ASSERT_TRUE(machine.edu().Fetch(0x100000, 6).ok());
  EXPECT_EQ(machine.container().Unmap(0x100000, kPage), static_cast<int64_t>(kPage));

  ASSERT_TRUE(machine.edu().Store(0x100000, 6).ok());
  source.Write(0x100000, "hidden");
  ASSERT_TRUE(machine.edu().Fetch(0x100000, 6).ok());
  ASSERT_TRUE(machine.edu().Store(0x200000, 6).ok());
  EXPECT_EQ(source.Read(0x100000, 6), "hidden");
  EXPECT_NE(target.Read(0x200000, 6), "hidden");
}

TEST_F(LegacyVfioTest, ReadOnlyMappingIsNotWritten) {
  EduMachine machine;
  const kernel::TestRam source(0x100000, kPage);
  const kernel::TestRam target(0x200000, kPage);
  source.Write(0x100000, "new");
  target.Write(0x200000, "old");
  ASSERT_EQ(machine.container().Map(source), 0);
  ASSERT_EQ(
      machine.container().Map(0x200000, kPage, target.user_address(), uapi::VFIO_DMA_MAP_FLAG_READ),
      0);
  ASSERT_TRUE(machine.edu().Fetch(0x100000, 3).ok());
  ASSERT_TRUE(machine.edu().Store(0x200000, 3).ok());
  EXPECT_EQ(target.Read(0x200000, 3), "old");
}

}  // namespace
}  // namespace nestor::kernel_test
