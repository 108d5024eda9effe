// Byte-exact encodings. The vectors were printed by a C program compiled against the headers
// of Linux 7.2; ids: device 1, IOAS 2, nest parent 3, nested HWPTs 4 and 5, fault queue 6.

#include "agent/kernel/uapi/iommufd.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

// In memory order, as hexadecimal digits.
template <typename Struct>
std::string Encode(const Struct& value, size_t size = sizeof(Struct)) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(&value), size});
}

std::string Hex(absl::string_view digits) { return absl::StrReplaceAll(digits, {{" ", ""}}); }

TEST(IommufdTest, RequestsHaveTheNumbersOfTheKernel) {
  EXPECT_EQ(uapi::IOMMU_IOAS_ALLOC, 0x3b81u);
  EXPECT_EQ(uapi::IOMMU_IOAS_MAP, 0x3b85u);
  EXPECT_EQ(uapi::IOMMU_IOAS_UNMAP, 0x3b86u);
  EXPECT_EQ(uapi::IOMMU_HWPT_ALLOC, 0x3b89u);
  EXPECT_EQ(uapi::IOMMU_GET_HW_INFO, 0x3b8au);
  EXPECT_EQ(uapi::IOMMU_HWPT_INVALIDATE, 0x3b8du);
  EXPECT_EQ(uapi::IOMMU_FAULT_QUEUE_ALLOC, 0x3b8eu);
  EXPECT_EQ(uapi::IOMMU_IOAS_MAP_FILE, 0x3b8fu);
  EXPECT_EQ(uapi::IOMMU_VIOMMU_ALLOC, 0x3b90u);
  EXPECT_EQ(uapi::IOMMU_VDEVICE_ALLOC, 0x3b91u);
  EXPECT_EQ(uapi::IOMMU_VEVENTQ_ALLOC, 0x3b93u);
}

TEST(IommufdTest, BindOfADeviceInBothForms) {
  uapi::vfio_device_bind_iommufd bind = {
      .argsz = sizeof(bind), .flags = 0, .iommufd = 5, .out_devid = 0, .token_uuid_ptr = 0};
  EXPECT_EQ(Encode(bind), Hex("18000000 00000000 05000000 00000000 00000000 00000000"));
  bind.argsz = uapi::VFIO_DEVICE_BIND_MIN_SIZE;
  EXPECT_EQ(Encode(bind, bind.argsz), Hex("10000000 00000000 05000000 00000000"));
}

TEST(IommufdTest, OptionOfAccountingPerProcess) {
  const uapi::iommu_option option = {.size = sizeof(option),
                                     .option_id = uapi::IOMMU_OPTION_RLIMIT_MODE,
                                     .op = uapi::IOMMU_OPTION_OP_SET,
                                     .reserved = 0,
                                     .object_id = 0,
                                     .val64 = 1};
  EXPECT_EQ(Encode(option), Hex("18000000 00000000 00000000 00000000 01000000 00000000"));
}

TEST(IommufdTest, AllocationOfAnIoas) {
  uapi::iommu_ioas_alloc alloc = {.size = sizeof(alloc), .flags = 0, .out_ioas_id = 0};
  EXPECT_EQ(Encode(alloc), Hex("0c000000 00000000 00000000"));
  alloc.out_ioas_id = 2;
  EXPECT_EQ(Encode(alloc), Hex("0c000000 00000000 02000000"));
}

TEST(IommufdTest, MapOfMemoryAndOfAFile) {
  constexpr uint32_t kFlags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_WRITEABLE |
                              uapi::IOMMU_IOAS_MAP_READABLE;
  const uapi::iommu_ioas_map map = {.size = sizeof(map),
                                    .flags = kFlags,
                                    .ioas_id = 2,
                                    .reserved = 0,
                                    .user_va = 0x7f0000000000,
                                    .length = 1 << 30,
                                    .iova = 0};
  EXPECT_EQ(Encode(map), Hex("28000000 07000000 02000000 00000000 00000000 007f0000 "
                             "00000040 00000000 00000000 00000000"));
  const uapi::iommu_ioas_map_file file = {.size = sizeof(file),
                                          .flags = kFlags,
                                          .ioas_id = 2,
                                          .fd = 9,
                                          .start = 0,
                                          .length = 1 << 30,
                                          .iova = 0};
  EXPECT_EQ(Encode(file), Hex("28000000 07000000 02000000 09000000 00000000 00000000 "
                              "00000040 00000000 00000000 00000000"));
}

TEST(IommufdTest, QuestionForTheHardware) {
  uapi::iommu_hw_info info = {};
  info.size = sizeof(info);
  info.dev_id = 1;
  info.data_len = sizeof(uapi::iommu_hw_info_vtd);
  info.data_uptr = 0x7ffd00001000;
  EXPECT_EQ(Encode(info), Hex("28000000 00000000 01000000 18000000 00100000 fd7f0000 "
                              "00000000 00000000 00000000 00000000"));
}

TEST(IommufdTest, AllocationOfANestParent) {
  uapi::iommu_hwpt_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.flags = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT;
  alloc.dev_id = 1;
  alloc.pt_id = 2;
  const std::string tail = Hex(
      "01000000 02000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000");
  EXPECT_EQ(Encode(alloc), absl::StrCat(Hex("30000000 01000000"), tail));
  alloc.flags |= uapi::IOMMU_HWPT_ALLOC_PASID;
  EXPECT_EQ(Encode(alloc), absl::StrCat(Hex("30000000 09000000"), tail));
}

TEST(IommufdTest, FirstStageOfVtd) {
  const uapi::iommu_hwpt_vtd_s1 data = {
      .flags = 0, .pgtbl_addr = 0x123456000, .addr_width = 48, .reserved = 0};
  EXPECT_EQ(Encode(data), Hex("00000000 00000000 00604523 01000000 30000000 00000000"));
}

TEST(IommufdTest, AllocationOfANestedHwptWithAndWithoutAFaultQueue) {
  uapi::iommu_hwpt_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.flags = uapi::IOMMU_HWPT_ALLOC_PASID;
  alloc.dev_id = 1;
  alloc.pt_id = 3;
  alloc.data_type = uapi::IOMMU_HWPT_DATA_VTD_S1;
  alloc.data_len = sizeof(uapi::iommu_hwpt_vtd_s1);
  alloc.data_uptr = 0x7ffd00002000;
  EXPECT_EQ(Encode(alloc), Hex("30000000 08000000 01000000 03000000 00000000 00000000 01000000 "
                               "18000000 00200000 fd7f0000 00000000 00000000"));
  alloc.flags |= uapi::IOMMU_HWPT_FAULT_ID_VALID;
  alloc.fault_id = 6;
  EXPECT_EQ(Encode(alloc), Hex("30000000 0c000000 01000000 03000000 00000000 00000000 01000000 "
                               "18000000 00200000 fd7f0000 06000000 00000000"));
}

TEST(IommufdTest, AttachOfADeviceAndOfAPasid) {
  uapi::vfio_device_attach_iommufd_pt attach = {
      .argsz = uapi::VFIO_DEVICE_ATTACH_MIN_SIZE, .flags = 0, .pt_id = 3, .pasid = 0};
  EXPECT_EQ(Encode(attach, attach.argsz), Hex("0c000000 00000000 03000000"));
  attach = {
      .argsz = sizeof(attach), .flags = uapi::VFIO_DEVICE_ATTACH_PASID, .pt_id = 4, .pasid = 100};
  EXPECT_EQ(Encode(attach), Hex("10000000 01000000 04000000 64000000"));
  attach.pt_id = 5;  // a replacement
  EXPECT_EQ(Encode(attach), Hex("10000000 01000000 05000000 64000000"));
}

TEST(IommufdTest, DetachOfADeviceAndOfAPasid) {
  uapi::vfio_device_detach_iommufd_pt detach = {
      .argsz = uapi::VFIO_DEVICE_DETACH_MIN_SIZE, .flags = 0, .pasid = 0};
  EXPECT_EQ(Encode(detach, detach.argsz), Hex("08000000 00000000"));
  detach = {.argsz = sizeof(detach), .flags = uapi::VFIO_DEVICE_DETACH_PASID, .pasid = 100};
  EXPECT_EQ(Encode(detach), Hex("0c000000 01000000 64000000"));
}

TEST(IommufdTest, InvalidationOfEverythingAndOfARange) {
  uapi::iommu_hwpt_vtd_s1_invalidate entry = {
      .addr = 0, .npages = UINT64_MAX, .flags = 0, .reserved = 0};
  EXPECT_EQ(Encode(entry), Hex("00000000 00000000 ffffffff ffffffff 00000000 00000000"));
  entry = {.addr = 0x7f1234567000,
           .npages = 512,
           .flags = uapi::IOMMU_VTD_INV_FLAGS_LEAF,
           .reserved = 0};
  EXPECT_EQ(Encode(entry), Hex("00705634 127f0000 00020000 00000000 01000000 00000000"));
}

TEST(IommufdTest, InvalidationOfOneEntryAndOfNone) {
  uapi::iommu_hwpt_invalidate invalidate = {};
  invalidate.size = sizeof(invalidate);
  invalidate.hwpt_id = 4;
  EXPECT_EQ(Encode(invalidate), Hex("20000000 04000000 00000000 00000000 00000000 00000000 "
                                    "00000000 00000000"));
  invalidate.data_uptr = 0x7ffd00003000;
  invalidate.data_type = uapi::IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
  invalidate.entry_len = sizeof(uapi::iommu_hwpt_vtd_s1_invalidate);
  invalidate.entry_num = 1;
  EXPECT_EQ(Encode(invalidate), Hex("20000000 04000000 00300000 fd7f0000 00000000 18000000 "
                                    "01000000 00000000"));
}

TEST(IommufdTest, AllocationOfAFaultQueueAndDestruction) {
  const uapi::iommu_fault_alloc fault = {
      .size = sizeof(fault), .flags = 0, .out_fault_id = 0, .out_fault_fd = 0};
  EXPECT_EQ(Encode(fault), Hex("10000000 00000000 00000000 00000000"));
  const uapi::iommu_destroy destroy = {.size = sizeof(destroy), .id = 4};
  EXPECT_EQ(Encode(destroy), Hex("08000000 04000000"));
}

}  // namespace
}  // namespace nestor::kernel
