// What the iommufd address space refuses by itself, because the kernel would not.
#include "agent/vfio/iommufd_backend.h"

#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/vfio/test_iommufd_kernel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;
using ::testing::IsEmpty;

namespace uapi = kernel::uapi;

constexpr char kDevice[] = "0000:01:00.0";
constexpr MemoryRegion kMemory{.guest_address = 0x10'0000, .size = 0x1'0000};
constexpr PageTable kTable{.root = 0x10'1000};
constexpr PageTable kOtherTable{.root = 0x10'2000};

class IommufdBackendTest : public testing::Test {
 protected:
  void Attach() {
    ASSERT_TRUE(space_->Attach(kDevice).ok());
    ASSERT_TRUE(space_->Map(kDevice, kMemory).ok());
    kernel_.calls.clear();
  }
  void ExpectRefusedUnasked(const absl::Status& status, absl::StatusCode code) {
    EXPECT_THAT(status.code(), Eq(code)) << status;
    EXPECT_THAT(kernel_.calls, IsEmpty());
  }

  TestIommufdKernel kernel_;
  IommufdBackend backend_{kernel_};
  std::unique_ptr<AddressSpace> space_ = *backend_.CreateAddressSpace();
};

TEST_F(IommufdBackendTest, ReplacesWithoutAGap) {
  EXPECT_THAT(backend_.name(), Eq("iommufd"));
  EXPECT_FALSE(backend_.replace_has_gap());
}

TEST_F(IommufdBackendTest, PasidsAreTheDevicesOwnAndCostNoCall) {
  Attach();
  EXPECT_TRUE(space_->AllocatePasid(5).ok());
  EXPECT_TRUE(space_->FreePasid(5).ok());
  EXPECT_THAT(kernel_.calls, IsEmpty());
}

TEST_F(IommufdBackendTest, PasidZeroIsNoPasid) {
  Attach();
  ExpectRefusedUnasked(space_->AllocatePasid(0), absl::StatusCode::kInvalidArgument);
}

TEST_F(IommufdBackendTest, DeviceOfWidthZeroHasNoPasids) {
  kernel_.pasid_bits = 0;
  Attach();
  ExpectRefusedUnasked(space_->AllocatePasid(1), absl::StatusCode::kInvalidArgument);
  ExpectRefusedUnasked(space_->Bind({kDevice, 1}, kTable), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(space_->Bind({kDevice, 0}, kTable).ok());
}

TEST_F(IommufdBackendTest, PasidBeyondTheWidthIsRefused) {
  kernel_.pasid_bits = 8;
  Attach();
  ExpectRefusedUnasked(space_->AllocatePasid(256), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(space_->AllocatePasid(255).ok());
}

// The kernel would replace the first without a word.
TEST_F(IommufdBackendTest, SecondBindIsNotAReplace) {
  Attach();
  ASSERT_TRUE(space_->AllocatePasid(5).ok());
  ASSERT_TRUE(space_->Bind({kDevice, 5}, kTable).ok());
  kernel_.calls.clear();
  ExpectRefusedUnasked(space_->Bind({kDevice, 5}, kOtherTable), absl::StatusCode::kAlreadyExists);
}

// The kernel would answer 0.
TEST_F(IommufdBackendTest, UnbindOfNothingIsNotFound) {
  Attach();
  ExpectRefusedUnasked(space_->Unbind({kDevice, 5}), absl::StatusCode::kNotFound);
  ExpectRefusedUnasked(space_->Unbind({kDevice, 0}), absl::StatusCode::kNotFound);
}

// The kernel takes any address and any width.
TEST_F(IommufdBackendTest, RootAndWidthAreCheckedBeforeTheKernelTakesThem) {
  Attach();
  ASSERT_TRUE(space_->AllocatePasid(5).ok());
  for (const PageTable& table :
       {PageTable{.root = 0x10'1008}, PageTable{.root = 0x0f'f000}, PageTable{.root = 0x11'0000},
        PageTable{.root = 0x10'1000, .address_width = 39}}) {
    ExpectRefusedUnasked(space_->Bind({kDevice, 5}, table), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(space_->Bind({kDevice, 5}, {.root = 0x10'f000, .address_width = 57}).ok());
}

TEST_F(IommufdBackendTest, RootNeedsMemory) {
  ASSERT_TRUE(space_->Attach(kDevice).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(space_->Bind({kDevice, 0}, kTable)));
}

TEST_F(IommufdBackendTest, SmmuBindsTheDeviceAlone) {
  kernel_.hardware_type = uapi::IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
  Attach();
  const PageTable table{.format = PageTableFormat::kArmSmmuV3, .root = 0x10'1000};
  ExpectRefusedUnasked(space_->Bind({kDevice, 5}, table), absl::StatusCode::kUnimplemented);
  ExpectRefusedUnasked(space_->Bind({kDevice, 0}, kTable), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(space_->Bind({kDevice, 0}, table).ok());
  EXPECT_THAT(Hex(kernel_.calls.front().data), Eq("0b101000 00000000 d4000000 00000000"));
  EXPECT_TRUE(space_->Invalidate({kDevice, 0}, 0, 0).ok());
}

TEST_F(IommufdBackendTest, LastDetachClosesTheIommufd) {
  Attach();
  EXPECT_THAT(kernel_.open_files, Eq(2));
  ASSERT_TRUE(space_->AllocatePasid(5).ok());
  ASSERT_TRUE(space_->Detach(kDevice).ok());
  EXPECT_THAT(kernel_.open_files, Eq(0));
  EXPECT_THAT(space_->state(), Eq(AddressSpaceState{}));
}

TEST_F(IommufdBackendTest, DeviceThatStage2DoesNotTakeIsClosedAgain) {
  kernel_.answer = [](const auto& call) {
    const bool is_attach = call.request == uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT;
    return is_attach && call.bytes.size() == 12 ? -EADDRINUSE : 0;
  };
  EXPECT_FALSE(space_->Attach(kDevice).ok());
  EXPECT_THAT(kernel_.open_files, Eq(0));
  EXPECT_THAT(space_->state(), Eq(AddressSpaceState{}));
}

}  // namespace
}  // namespace nestor::agent
