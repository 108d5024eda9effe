// VFIO_IOMMU_PASID_REQUEST: sets, quotas, owners.

#include <cerrno>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kAlloc = uapi::VFIO_IOMMU_FLAG_ALLOC_PASID;
constexpr uint32_t kFree = uapi::VFIO_IOMMU_FLAG_FREE_PASID;
constexpr uint32_t kMaxPasid = 0xfffff;

class SimPasidTest : public ::testing::Test {
 protected:
  explicit SimPasidTest(const SimMachine& machine = DefaultSimMachine(3)) : kernel_(machine) {}

  SimKernel kernel_;
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  std::unique_ptr<SimProcess> other_process_ = kernel_.CreateProcess();
};

TEST_F(SimPasidTest, RequestChecksItsArgumentBeforeTheContainer) {
  TestContainer plain(*process_, 1);
  ASSERT_EQ(plain.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
  EXPECT_EQ(process_->Ioctl(plain.container(), uapi::VFIO_IOMMU_PASID_REQUEST, 8), -EFAULT);
  EXPECT_EQ(plain.Pasid(4, 1, 1), -EINVAL);
  EXPECT_EQ(plain.Pasid(kAlloc, 2, 1), -EINVAL);
  EXPECT_EQ(plain.Pasid(kAlloc, 1, 1), -EOPNOTSUPP);
  EXPECT_EQ(plain.Pasid(0, 1, 1), -EOPNOTSUPP);
}

TEST_F(SimPasidTest, RequestIsExactlyOneOfAllocAndFree) {  // U5
  TestContainer container = TestContainer::Nesting(*process_);
  EXPECT_EQ(container.Pasid(kAlloc | kFree, 1, kMaxPasid), -EINVAL);
  EXPECT_EQ(container.Pasid(0, 1, kMaxPasid), -EINVAL);
  uapi::vfio_iommu_type1_pasid_request request = {.argsz = 15, .flags = kAlloc, .range = {1, 2}};
  EXPECT_EQ(container.Call(uapi::VFIO_IOMMU_PASID_REQUEST, &request), -EINVAL);
}

TEST_F(SimPasidTest, NoSetWithoutSystemWidePasids) {
  SimMachine machine = DefaultSimMachine(1);
  machine.iommu.nesting_features = uapi::IOMMU_NESTING_FEAT_BIND_PGTBL;
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TestContainer container = TestContainer::Nesting(*process);
  EXPECT_EQ(container.Allocate(5), -EOPNOTSUPP);
}

TEST_F(SimPasidTest, LowestFreeOneOfTheRangeIsGiven) {
  TestContainer container = TestContainer::Nesting(*process_);
  EXPECT_EQ(container.Pasid(kAlloc, 1, kMaxPasid), 1);
  EXPECT_EQ(container.Pasid(kAlloc, 1, kMaxPasid), 2);
  EXPECT_EQ(container.Pasid(kAlloc, 1, 2), -ENOSPC);
  EXPECT_EQ(container.Free(1), 0);
  EXPECT_EQ(container.Pasid(kAlloc, 1, kMaxPasid), 1);
  EXPECT_EQ(container.Pasid(kAlloc, 100, 200), 100);
}

TEST_F(SimPasidTest, NothingStopsAnAllocationOfZero) {
  TestContainer container = TestContainer::Nesting(*process_);
  EXPECT_EQ(container.Pasid(kAlloc, 0, kMaxPasid), 0);
}

TEST_F(SimPasidTest, BoundsThatNoResultCanCarryAreRefused) {  // A16
  TestContainer container = TestContainer::Nesting(*process_);
  EXPECT_EQ(container.Pasid(kAlloc, 1, 0x80000000), -EINVAL);
  EXPECT_EQ(container.Pasid(kAlloc, 0x80000000, 0xffffffff), -EINVAL);
  EXPECT_EQ(container.Pasid(kFree, 1, 0xffffffff), -EINVAL);
  EXPECT_EQ(container.Pasid(kAlloc, 0x7fffffff, 0x7fffffff), 0x7fffffff);
}

TEST_F(SimPasidTest, PasidsAreTheWholeSystems) {
  TestContainer container = TestContainer::Nesting(*process_, 1);
  TestContainer other = TestContainer::Nesting(*other_process_, 2);
  EXPECT_EQ(container.Allocate(5), 5);
  EXPECT_EQ(other.Allocate(5), -ENOSPC);
  EXPECT_EQ(other.Pasid(kAlloc, 5, 6), 6);
}

TEST_F(SimPasidTest, FreeOfForeignOrUnknownOnesDoesNothing) {
  TestContainer container = TestContainer::Nesting(*process_, 1);
  TestContainer other = TestContainer::Nesting(*other_process_, 2);
  ASSERT_EQ(container.Allocate(5), 5);
  EXPECT_EQ(other.Pasid(kFree, 0, kMaxPasid), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 1);
  EXPECT_EQ(container.Pasid(kFree, 0, kMaxPasid), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 0);
  EXPECT_EQ(container.Free(5), 0);
}

TEST_F(SimPasidTest, ContainersOfOneProcessShareOneSet) {
  TestContainer first = TestContainer::Nesting(*process_, 1);
  TestContainer second = TestContainer::Nesting(*process_, 2);
  EXPECT_EQ(kernel_.Statistics().pasid_sets, 1);
  ASSERT_EQ(first.Allocate(5), 5);
  EXPECT_EQ(second.Allocate(5), -ENOSPC);
  EXPECT_EQ(second.Free(5), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 0);
}

TEST_F(SimPasidTest, SetBelongsToTheProcessThatSetTheIommuWhoeverAllocates) {
  TestContainer container = TestContainer::Nesting(*process_, 1);
  const int fd = process_->PassDescriptor(container.container(), *other_process_);
  uapi::vfio_iommu_type1_pasid_request request = {.argsz = 16, .flags = kAlloc, .range = {5, 5}};
  EXPECT_EQ(other_process_->IoctlPointer(fd, uapi::VFIO_IOMMU_PASID_REQUEST, &request), 5);
  TestContainer own = TestContainer::Nesting(*other_process_, 2);
  EXPECT_EQ(own.Free(5), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 1);
  EXPECT_EQ(container.Free(5), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 0);
}

TEST_F(SimPasidTest, QuotaIsAThousandForTheProcessAndNotForTheContainer) {  // U6
  TestContainer first = TestContainer::Nesting(*process_, 1);
  TestContainer second = TestContainer::Nesting(*process_, 2);
  for (int count = 0; count < 1000; ++count) {
    TestContainer& container = count % 2 == 0 ? first : second;
    ASSERT_EQ(container.Pasid(kAlloc, 1, kMaxPasid), count + 1);
  }
  EXPECT_EQ(first.Pasid(kAlloc, 1, kMaxPasid), -ENOSPC);
  EXPECT_EQ(second.Pasid(kAlloc, 1, kMaxPasid), -ENOSPC);
  EXPECT_EQ(first.Free(7), 0);
  EXPECT_EQ(second.Pasid(kAlloc, 1, kMaxPasid), 7);
}

TEST_F(SimPasidTest, QuotaIsReservedWhenNestingIsSetAndGivenBack) {
  SimMachine machine = DefaultSimMachine(3);
  machine.iommu.pasid_quota = 1000;
  machine.iommu.pasid_capacity = 1999;
  SimKernel kernel(machine);
  const auto first = kernel.CreateProcess();
  const auto second = kernel.CreateProcess();
  auto holder = std::make_unique<TestContainer>(TestContainer::Nesting(*first, 1));
  TestContainer same_process = TestContainer::Nesting(*first, 2);
  EXPECT_EQ(kernel.Statistics().pasid_sets, 1);
  TestContainer waiting(*second, 3);
  EXPECT_EQ(waiting.SetIommu(uapi::VFIO_TYPE1_NESTING_IOMMU), -ENOSPC);
  holder.reset();
  EXPECT_EQ(waiting.SetIommu(uapi::VFIO_TYPE1_NESTING_IOMMU), -ENOSPC);
  same_process.CloseGroup();
  EXPECT_EQ(waiting.SetIommu(uapi::VFIO_TYPE1_NESTING_IOMMU), 0);
}

TEST_F(SimPasidTest, LastContainerOfTheProcessTakesItsPasidsAlong) {
  {
    TestContainer container = TestContainer::Nesting(*process_, 1);
    ASSERT_EQ(container.Allocate(5), 5);
  }
  EXPECT_EQ(kernel_.Statistics(), SimStatistics());
}

}  // namespace
}  // namespace nestor::kernel
