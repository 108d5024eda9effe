// What is attached after each failure, with a device of which every call can fail.
#include "agent/vfio/iommufd_nest.h"

#include <cerrno>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/vfio/test_iommufd_kernel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::Pair;

namespace uapi = kernel::uapi;

constexpr IommufdId kParent = 90;

// What the hardware walks, as VT-d has it: an attach that fails late has torn down what was
// there, and one of what the kernel has in its books is not carried out.
struct DeviceModel {
  std::map<uint32_t, IommufdId> books;
  std::map<uint32_t, IommufdId> hardware;
  std::set<IommufdId> refused;  // attaching these fails late
  bool detaches = true;
};

class ModelledDevice final : public IommufdDevice {
 public:
  explicit ModelledDevice(kernel::Syscalls& syscalls, DeviceModel& model)
      : vfio_(syscalls, VfioFile()), model_(model) {}

  absl::StatusOr<IommufdId> Bind(int) override { return 1; }
  absl::Status Attach(uint32_t pasid, IommufdId table) override {
    if (model_.books.contains(pasid) && model_.books.at(pasid) == table) return absl::OkStatus();
    model_.hardware.erase(pasid);
    if (model_.refused.contains(table)) return KernelErrorStatus({"ATTACH", "device", EINVAL});
    model_.books[pasid] = model_.hardware[pasid] = table;
    return absl::OkStatus();
  }
  absl::Status Detach(uint32_t pasid) override {
    if (!model_.detaches) return KernelErrorStatus({"DETACH", "device", EIO});
    model_.books.erase(pasid);
    model_.hardware.erase(pasid);
    return absl::OkStatus();
  }
  VfioDevice& vfio() override { return vfio_; }

 private:
  VfioDevice vfio_;
  DeviceModel& model_;
};

class IommufdNestTest : public testing::Test {
 protected:
  IommufdNestTest() {
    IommufdNestParts parts;
    parts.parent = IommufdObject(iommufd_, kParent);
    parts.device = std::make_unique<ModelledDevice>(kernel_, model_);
    parts.format = LinuxStage1Formats()[0];
    parts.pasid_flag = uapi::IOMMU_HWPT_ALLOC_PASID;
    nest_.emplace(iommufd_, std::move(parts));
    EXPECT_TRUE(nest_->AttachToStage2().ok());
    kernel_.calls.clear();
  }
  std::vector<std::string> Destroyed() const { return kernel_.Sent(uapi::IOMMU_DESTROY); }

  TestIommufdKernel kernel_;
  Iommufd iommufd_{VfioFile(kernel_, TestIommufdKernel::kIommufd, "/dev/iommu")};
  DeviceModel model_;
  std::optional<IommufdNest> nest_;
};

// Nested tables are numbered from 1.
constexpr PageTable kTable{.root = 0x1000};
constexpr PageTable kOtherTable{.root = 0x2000};

TEST_F(IommufdNestTest, EachRootIsATableOfItsOwnMadeForPasids) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  ASSERT_TRUE(nest_->Bind(0, kTable).ok());
  EXPECT_THAT(model_.hardware, ElementsAre(Pair(0, 2), Pair(5, 1)));
  // Without the flag on the device's own table, its PASIDs could not be attached.
  for (const std::string& sent : kernel_.Sent(uapi::IOMMU_HWPT_ALLOC)) {
    EXPECT_THAT(sent.substr(9, 8), Eq("08000000"));
  }
}

TEST_F(IommufdNestTest, ReplaceAttachesTheNewTableThenDestroysTheOld) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  ASSERT_TRUE(nest_->Replace(5, kOtherTable).ok());
  EXPECT_THAT(model_.hardware, ElementsAre(Pair(0, kParent), Pair(5, 2)));
  EXPECT_THAT(Destroyed(), ElementsAre("08000000 01000000"));
}

TEST_F(IommufdNestTest, FailedReplaceMakesTheHardwareWalkTheOldTableAgain) {
  for (const uint32_t pasid : {0U, 5U}) {
    ASSERT_TRUE(nest_->Bind(pasid, kTable).ok());
    const IommufdId old = model_.hardware.at(pasid);
    model_.refused = {old + 1};
    EXPECT_TRUE(absl::IsInvalidArgument(nest_->Replace(pasid, kOtherTable)));
    EXPECT_THAT(model_.hardware.at(pasid), Eq(old));
  }
  EXPECT_THAT(Destroyed(), ElementsAre("08000000 02000000", "08000000 04000000"));
}

TEST_F(IommufdNestTest, ReplaceThatLosesBothTablesSaysSo) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  model_.refused = {1, 2};
  EXPECT_TRUE(absl::IsDataLoss(nest_->Replace(5, kOtherTable)));
  EXPECT_THAT(model_.books, ElementsAre(Pair(0, kParent)));
  EXPECT_THAT(Destroyed().size(), Eq(2U));
}

TEST_F(IommufdNestTest, FailedReplaceOfWhatCannotBeDetachedKeepsTheOldTable) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  model_.refused = {2};
  model_.detaches = false;
  EXPECT_TRUE(absl::IsInvalidArgument(nest_->Replace(5, kOtherTable)));
  EXPECT_THAT(model_.books.at(5), Eq(1U));
  EXPECT_THAT(Destroyed(), ElementsAre("08000000 02000000"));
}

TEST_F(IommufdNestTest, FailedBindLeavesNothingAttached) {
  model_.refused = {1};
  EXPECT_FALSE(nest_->Bind(5, kTable).ok());
  EXPECT_THAT(model_.books, ElementsAre(Pair(0, kParent)));
  EXPECT_THAT(Destroyed(), ElementsAre("08000000 01000000"));
}

TEST_F(IommufdNestTest, FailedBindOfTheDeviceKeepsItInStage2) {
  model_.refused = {1};
  EXPECT_FALSE(nest_->Bind(0, kTable).ok());
  EXPECT_THAT(model_.hardware, ElementsAre(Pair(0, kParent)));
}

TEST_F(IommufdNestTest, UnbindBlocksAPasidAndLeavesTheDeviceInStage2) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  ASSERT_TRUE(nest_->Bind(0, kTable).ok());
  ASSERT_TRUE(nest_->Unbind(5).ok());
  ASSERT_TRUE(nest_->Unbind(0).ok());
  EXPECT_THAT(model_.hardware, ElementsAre(Pair(0, kParent)));
  EXPECT_THAT(Destroyed(), ElementsAre("08000000 01000000", "08000000 02000000"));
}

TEST_F(IommufdNestTest, FailedDetachKeepsTheTable) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  model_.detaches = false;
  EXPECT_FALSE(nest_->Unbind(5).ok());
  EXPECT_THAT(Destroyed(), IsEmpty());
}

TEST_F(IommufdNestTest, InvalidationGoesToTheTableOfThePasid) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  ASSERT_TRUE(nest_->Bind(6, kOtherTable).ok());
  ASSERT_TRUE(nest_->Invalidate(6, 0, 0).ok());
  EXPECT_THAT(kernel_.calls.back().bytes.at(4), Eq(2));
}

TEST_F(IommufdNestTest, DestructionDetachesBeforeItDestroysFromTheLeavesDown) {
  ASSERT_TRUE(nest_->Bind(5, kTable).ok());
  nest_.reset();
  EXPECT_THAT(model_.books, IsEmpty());
  EXPECT_THAT(Destroyed(), ElementsAre("08000000 01000000", "08000000 5a000000"));
}

}  // namespace
}  // namespace nestor::agent
