// Byte-exact encodings. The vectors were printed by a C program compiled against the headers
// of Linux 5.10 and the series' own declarations.

#include "agent/kernel/uapi/vfio_type1_nesting.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "agent/kernel/test_container.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

using Bytes = std::vector<uint8_t>;

template <typename Struct>
Bytes Encode(const Struct& value) {
  const auto* begin = reinterpret_cast<const uint8_t*>(&value);
  return {begin, begin + sizeof(value)};
}

Bytes Padded(Bytes bytes, size_t size) {
  bytes.resize(size);
  return bytes;
}

// clang-format off
const Bytes kBindPasid5 = Padded({
    0x50, 0, 0, 0, 0, 0, 0, 0, 0x48, 0, 0, 0, 1, 0, 0, 0,
    1, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0x50, 0x34, 0x12, 0, 0, 0, 0, 5}, 80);
// clang-format on

TEST(VfioType1NestingTest, T1AllocationOfAnyPasid) {
  const uapi::vfio_iommu_type1_pasid_request request = {.argsz = sizeof(request),
                                                        .flags = uapi::VFIO_IOMMU_FLAG_ALLOC_PASID,
                                                        .range = {.min = 1, .max = 0xfffff}};
  EXPECT_THAT(Encode(request),
              ElementsAre(0x10, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0x0f, 0));
}

TEST(VfioType1NestingTest, T2FreeOfOnePasid) {
  const uapi::vfio_iommu_type1_pasid_request request = {.argsz = sizeof(request),
                                                        .flags = uapi::VFIO_IOMMU_FLAG_FREE_PASID,
                                                        .range = {.min = 5, .max = 5}};
  EXPECT_THAT(Encode(request), ElementsAre(0x10, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0));
}

TEST(VfioType1NestingTest, T3BindOfFourLevels) {
  EXPECT_THAT(Encode(TestBind()), ElementsAreArray(kBindPasid5));
}

TEST(VfioType1NestingTest, T4BindOfFiveLevelsWithEveryField) {
  TestBind bind;
  bind.data.addr_width = 57;
  bind.data.flags = uapi::IOMMU_SVA_GPASID_VAL;
  bind.data.gpgd = 0x1abcde000;
  bind.data.hpasid = 0xfffff;
  bind.data.gpasid = 0x21;
  bind.data.vtd.flags = uapi::IOMMU_SVA_VTD_GPASID_SRE | uapi::IOMMU_SVA_VTD_GPASID_EAFE;
  // clang-format off
  EXPECT_THAT(Encode(bind), ElementsAreArray(Padded({
      0x50, 0, 0, 0, 0, 0, 0, 0, 0x48, 0, 0, 0, 1, 0, 0, 0,
      1, 0, 0, 0, 0x39, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
      0, 0xe0, 0xcd, 0xab, 1, 0, 0, 0, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0,
      0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      3}, 80)));
  // clang-format on
}

TEST(VfioType1NestingTest, T5UnbindInItsShortForm) {
  TestBind unbind;
  unbind.header = {.argsz = 64, .flags = uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL};
  unbind.data.argsz = uapi::IOMMU_GPASID_BIND_MIN_SIZE;
  unbind.data.addr_width = 0;
  unbind.data.gpgd = 0;
  Bytes bytes = Encode(unbind);
  bytes.resize(64);
  // clang-format off
  EXPECT_THAT(bytes, ElementsAreArray(Padded({
      0x40, 0, 0, 0, 1, 0, 0, 0, 0x38, 0, 0, 0, 1, 0, 0, 0,
      1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 5}, 64)));
  // clang-format on
}

TEST(VfioType1NestingTest, T6UnbindInItsFullForm) {
  TestBind unbind;
  unbind.header.flags = uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL;
  Bytes expected = kBindPasid5;
  expected[4] = 1;
  EXPECT_THAT(Encode(unbind), ElementsAreArray(expected));
}

TEST(VfioType1NestingTest, T7InvalidationOfOnePasid) {
  // clang-format off
  EXPECT_THAT(Encode(TestInvalidate()), ElementsAreArray(Padded({
      0x40, 0, 0, 0, 2, 0, 0, 0, 0x38, 0, 0, 0, 1, 0, 0, 0,
      1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
      5}, 64)));
  // clang-format on
}

TEST(VfioType1NestingTest, T8InvalidationOfARange) {
  TestInvalidate invalidate;
  invalidate.info.cache = uapi::IOMMU_CACHE_INV_TYPE_IOTLB | uapi::IOMMU_CACHE_INV_TYPE_DEV_IOTLB;
  invalidate.info.granularity = uapi::IOMMU_INV_GRANU_ADDR;
  invalidate.info.granu.addr_info = {
      .flags = uapi::IOMMU_INV_ADDR_FLAGS_PASID | uapi::IOMMU_INV_ADDR_FLAGS_LEAF,
      .archid = 0,
      .pasid = 5,
      .addr = 0x7f0000200000,
      .granule_size = 4096,
      .nb_granules = 512};
  // clang-format off
  EXPECT_THAT(Encode(invalidate), ElementsAreArray(Padded({
      0x40, 0, 0, 0, 2, 0, 0, 0, 0x38, 0, 0, 0, 1, 0, 0, 0,
      3, 2, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
      5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0x7f, 0, 0,
      0, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0}, 64)));
  // clang-format on
}

Bytes GetInfo(SimPersonality personality, uint32_t type) {
  SimMachine machine = DefaultSimMachine(1);
  machine.personality = personality;
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TestContainer container(*process, 1);
  EXPECT_EQ(container.SetIommu(type), 0);
  Bytes info(160);
  info[0] = 160;
  EXPECT_EQ(container.Call(uapi::VFIO_IOMMU_GET_INFO, info.data()), 0);
  return info;
}

TEST(VfioType1NestingTest, T9InfoOfANestingContainer) {
  // clang-format off
  EXPECT_THAT(GetInfo(SimPersonality::kSeriesV6, uapi::VFIO_TYPE1_NESTING_IOMMU), ElementsAreArray({
      0xa0, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x01, 0x00, 0x38, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x00, 0x68, 0x00, 0x00, 0x00,
      0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0xff, 0xff, 0xdf, 0xfe, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf0, 0xfe, 0x00, 0x00, 0x00, 0x00,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
      0x30, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0xe0, 0x04, 0x01, 0x00, 0x00}));
  // clang-format on
}

TEST(VfioType1NestingTest, T10DmaAvailOfAMainlineContainerHasNestingsNumber) {
  const Bytes info = GetInfo(SimPersonality::kLinux6_12, uapi::VFIO_TYPE1v2_IOMMU);
  uint32_t next = 0;
  std::memcpy(&next, info.data() + 0x18 + 4, sizeof(next));  // of MIGRATION, the first
  ASSERT_EQ(next, 0x38U);
  Bytes dma_avail(info.begin() + 0x38, info.begin() + 0x38 + 12);
  dma_avail[4] = 0;  // the vector is of one that ends the chain
  EXPECT_THAT(dma_avail, ElementsAre(3, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0));
}

}  // namespace
}  // namespace nestor::kernel
