#include "agent/vfio/binding_validation.h"

#include <string>

#include "agent/core/kernel_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;
using ::testing::HasSubstr;

const BindingKey kKey{"0000:3b:00.0", 5};

DeviceCapabilities FullCapabilities() {
  DeviceCapabilities capabilities;
  capabilities.granularity = NestGranularity::kPasid;
  capabilities.pasid_bits = 20;
  capabilities.address_width = 48;
  capabilities.five_level = true;
  capabilities.supervisor_request = true;
  capabilities.extended_access_flag = true;
  return capabilities;
}

void ExpectRefused(const absl::Status& status, absl::string_view reason) {
  EXPECT_THAT(status.code(), Eq(absl::StatusCode::kInvalidArgument)) << status;
  EXPECT_THAT(GetReason(status), Eq(reason)) << status;
}

TEST(ValidateBindingTest, PlainTableIsAccepted) {
  EXPECT_TRUE(ValidateBinding(kKey, {.root = 0x12345000}, FullCapabilities()).ok());
}

TEST(ValidateBindingTest, EverythingTheHardwareHasIsAccepted) {
  const PageTable table{.root = 0xffff'ffff'f000,
                        .address_width = 57,
                        .supervisor_request = true,
                        .extended_access_flag = true};
  EXPECT_TRUE(ValidateBinding({kKey.device, 0xfffff}, table, FullCapabilities()).ok());
}

TEST(ValidateBindingTest, DeviceItselfIsUnsupported) {
  const absl::Status status = ValidateBinding({kKey.device, 0}, {}, FullCapabilities());
  EXPECT_THAT(status.code(), Eq(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(GetReason(status), Eq("UNSUPPORTED"));
}

TEST(ValidateBindingTest, PasidBeyondTheBitsIsRefused) {
  DeviceCapabilities capabilities = FullCapabilities();
  ExpectRefused(ValidateBinding({kKey.device, 0x100000}, {}, capabilities), "FIELD_INVALID");
  capabilities.pasid_bits = 0;
  ExpectRefused(ValidateBinding({kKey.device, 1}, {}, capabilities), "FIELD_INVALID");
}

TEST(ValidatePasidTest, ZeroIsRefused) {
  ExpectRefused(ValidatePasid(0, FullCapabilities()), "FIELD_INVALID");
}

TEST(ValidateBindingTest, ForeignFormatIsRefused) {
  for (const PageTableFormat format :
       {PageTableFormat::kUnspecified, PageTableFormat::kArmSmmuV3, PageTableFormat::kAmdV2}) {
    ExpectRefused(ValidateBinding(kKey, {.format = format}, FullCapabilities()),
                  "FORMAT_UNSUPPORTED");
  }
}

TEST(ValidateBindingTest, RootThatTheKernelWouldMaskIsRefused) {
  const absl::Status status = ValidateBinding(kKey, {.root = 0x12345678}, FullCapabilities());
  ExpectRefused(status, "FIELD_INVALID");
  EXPECT_THAT(std::string(status.message()), HasSubstr("0x12345678"));
}

TEST(ValidateBindingTest, RootBeyondTheGuestAddressWidthIsRefused) {
  ExpectRefused(ValidateBinding(kKey, {.root = uint64_t{1} << 48}, FullCapabilities()),
                "FIELD_INVALID");
}

TEST(ValidateBindingTest, WidthOtherThan48And57IsRefused) {
  for (const uint32_t width : {0U, 39U, 40U, 47U, 49U, 56U, 58U, 64U}) {
    ExpectRefused(ValidateBinding(kKey, {.address_width = width}, FullCapabilities()),
                  "FIELD_INVALID");
  }
}

TEST(ValidateBindingTest, FiveLevelsNeedHardware) {
  DeviceCapabilities capabilities = FullCapabilities();
  capabilities.five_level = false;
  ExpectRefused(ValidateBinding(kKey, {.address_width = 57}, capabilities), "DEVICE_UNSUITABLE");
}

TEST(ValidateBindingTest, FlagsNeedHardware) {
  DeviceCapabilities capabilities = FullCapabilities();
  capabilities.supervisor_request = false;
  ExpectRefused(ValidateBinding(kKey, {.supervisor_request = true}, capabilities),
                "DEVICE_UNSUITABLE");
  capabilities = FullCapabilities();
  capabilities.extended_access_flag = false;
  ExpectRefused(ValidateBinding(kKey, {.extended_access_flag = true}, capabilities),
                "DEVICE_UNSUITABLE");
}

}  // namespace
}  // namespace nestor::agent
