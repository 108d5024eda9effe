// iommufd as the agent uses it, on the kernel's own mock devices: the one place where a real
// kernel nests without an IOMMU that can.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "agent/kernel/test_page_table.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/kernel/uapi/iommufd_hardware.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernel/guest_machine.h"
#include "tests/kernel/mock_device.h"

namespace nestor::kernel_test {
namespace {

namespace uapi = kernel::uapi;

using ::testing::Gt;

constexpr uint64_t kPage = 4096;
constexpr uint32_t kPasid = 100;
constexpr uint32_t kNoTable = 0;

class IommufdMockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (iommufd_.fd() < 0) GTEST_SKIP() << "no /dev/iommu";
    ioas_ = Id(iommufd_.AllocateIoas());
    device_ = mocks_.Create(ioas_);
    if (device_.result == -ENOTTY) GTEST_SKIP() << "no mock devices (CONFIG_IOMMUFD_TEST)";
    ASSERT_EQ(device_.result, 0);
  }

  static uint32_t Id(int64_t result) {
    EXPECT_THAT(result, Gt(0));
    return static_cast<uint32_t>(result);
  }

  uint32_t Parent(uint32_t flags = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT |
                                   uapi::IOMMU_HWPT_ALLOC_PASID) {
    return Id(iommufd_.AllocateHwpt(device_.id, ioas_, {.flags = flags}));
  }
  int64_t TryNested(uint32_t parent, uint32_t iotlb, uint32_t flags = uapi::IOMMU_HWPT_ALLOC_PASID,
                    uint32_t fault_queue = 0) {
    const MockStage1 stage1 = {.iotlb = iotlb};
    return iommufd_.AllocateHwpt(device_.id, parent,
                                 {.flags = flags,
                                  .data_type = kMockStage1,
                                  .data = reinterpret_cast<uint64_t>(&stage1),
                                  .data_size = sizeof(stage1),
                                  .fault_queue = fault_queue});
  }
  uint32_t Nested(uint32_t parent, uint32_t iotlb = 1) { return Id(TryNested(parent, iotlb)); }

  IommufdCalls iommufd_{Linux()};
  MockDevices mocks_{iommufd_};
  uint32_t ioas_ = 0;
  MockDevices::Device device_;
  const kernel::TestRam ram_{kMockFirstAddress, 4 * kPage};
};

TEST_F(IommufdMockTest, HardwareIsNamedWithItsPasidBits) {
  uapi::iommu_hw_info info = {};
  ASSERT_EQ(iommufd_.GetHardware(device_.id, &info), 0);
  EXPECT_EQ(info.out_data_type, kMockHardwareType);
  EXPECT_EQ(info.out_max_pasid_log2, kMockPasidBits);
  EXPECT_EQ(iommufd_.GetHardware(device_.id + 100, &info), -ENOENT);
}

TEST_F(IommufdMockTest, MappingReachesThePageTable) {
  ram_.Write(kMockFirstAddress, "present");
  ASSERT_EQ(iommufd_.Map(ioas_, kMockFirstAddress, ram_.user_address(), 2 * kPage), 0);
  EXPECT_EQ(mocks_.CheckMapping(device_.table, kMockFirstAddress, ram_.user_address(), 2 * kPage),
            0);
  EXPECT_EQ(iommufd_.Map(ioas_, kMockFirstAddress + kPage, ram_.user_address(), kPage), -EEXIST);
  EXPECT_EQ(iommufd_.Unmap(ioas_, kMockFirstAddress, kPage), -ENOENT) << "mappings are not split";
  EXPECT_EQ(iommufd_.Unmap(ioas_, kMockFirstAddress, 2 * kPage), static_cast<int64_t>(2 * kPage));
  EXPECT_EQ(mocks_.CheckMapping(device_.table, kMockFirstAddress, ram_.user_address(), kPage),
            -EINVAL);
  EXPECT_EQ(iommufd_.Unmap(ioas_, kMockFirstAddress, 2 * kPage), -ENOENT);
}

TEST_F(IommufdMockTest, FileIsMappedWithoutAnAddressOfTheProcess) {
  const int file = memfd_create("guest", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file, 2 * kPage), 0);
  void* memory = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_EQ(iommufd_.MapFile(ioas_, kMockFirstAddress, file, 2 * kPage), 0);
  EXPECT_EQ(mocks_.CheckMapping(device_.table, kMockFirstAddress,
                                reinterpret_cast<uint64_t>(memory), 2 * kPage),
            0);
  munmap(memory, 2 * kPage);
  close(file);
}

TEST_F(IommufdMockTest, NestedTableStandsOnANestParentOnly) {
  const uint32_t parent = Parent();
  const uint32_t plain = Parent(uapi::IOMMU_HWPT_ALLOC_PASID);
  EXPECT_EQ(mocks_.CheckIotlb(Nested(parent, 7), 0, 7), 0);
  EXPECT_EQ(TryNested(plain, 7), -EINVAL);
  EXPECT_EQ(iommufd_.Destroy(parent), -EBUSY);
  const MockStage1 stage1;
  EXPECT_EQ(iommufd_.AllocateHwpt(device_.id, parent,
                                  {.data_type = uapi::IOMMU_HWPT_DATA_VTD_S1,
                                   .data = reinterpret_cast<uint64_t>(&stage1),
                                   .data_size = sizeof(stage1)}),
            -EOPNOTSUPP);
}

TEST_F(IommufdMockTest, RidIsReplacedByANestedTable) {
  const uint32_t parent = Parent();
  ASSERT_EQ(mocks_.Replace(device_.handle, parent), 0);
  const uint32_t nested = Nested(parent);
  EXPECT_EQ(mocks_.Replace(device_.handle, nested), 0);
  EXPECT_EQ(iommufd_.Destroy(nested), -EBUSY);
  EXPECT_EQ(mocks_.Replace(device_.handle, parent), 0);
  EXPECT_EQ(iommufd_.Destroy(nested), 0);
}

TEST_F(IommufdMockTest, PasidIsAttachedReplacedAndDetached) {
  const uint32_t parent = Parent();
  const uint32_t first = Nested(parent);
  const uint32_t second = Nested(parent);
  ASSERT_EQ(mocks_.Replace(device_.handle, parent), 0);

  EXPECT_EQ(mocks_.AttachPasid(device_.handle, kPasid, first), 0);
  EXPECT_EQ(mocks_.CheckPasid(device_.handle, kPasid, first), 0);
  EXPECT_EQ(mocks_.AttachPasid(device_.handle, kPasid, second), -EBUSY);
  EXPECT_EQ(mocks_.ReplacePasid(device_.handle, kPasid, second), 0);
  EXPECT_EQ(mocks_.CheckPasid(device_.handle, kPasid, second), 0);
  EXPECT_EQ(iommufd_.Destroy(first), 0);
  EXPECT_EQ(iommufd_.Destroy(second), -EBUSY);

  EXPECT_EQ(mocks_.DetachPasid(device_.handle, kPasid), 0);
  EXPECT_EQ(mocks_.CheckPasid(device_.handle, kPasid, kNoTable), 0);
  EXPECT_EQ(mocks_.DetachPasid(device_.handle, kPasid), 0) << "success says nothing";
  EXPECT_EQ(iommufd_.Destroy(second), 0);
}

TEST_F(IommufdMockTest, FailedReplaceLeavesTheOldTable) {
  const uint32_t parent = Parent();
  const uint32_t first = Nested(parent);
  const uint32_t second = Nested(parent);
  ASSERT_EQ(mocks_.Replace(device_.handle, parent), 0);
  ASSERT_EQ(mocks_.AttachPasid(device_.handle, kMockFailingPasid, first), 0);
  EXPECT_EQ(mocks_.ReplacePasid(device_.handle, kMockFailingPasid, second), -ENOMEM);
  EXPECT_EQ(mocks_.CheckPasid(device_.handle, kMockFailingPasid, first), 0);
  EXPECT_EQ(iommufd_.Destroy(second), 0);
  EXPECT_EQ(mocks_.DetachPasid(device_.handle, kMockFailingPasid), 0);
}

TEST_F(IommufdMockTest, PasidNeedsTablesMadeForPasids) {
  const uint32_t parent = Parent();
  const uint32_t without = Id(TryNested(parent, 1, 0));
  ASSERT_EQ(mocks_.Replace(device_.handle, parent), 0);
  EXPECT_EQ(mocks_.AttachPasid(device_.handle, kPasid, without), -EINVAL);
  EXPECT_EQ(mocks_.AttachPasid(device_.handle, kPasid, ioas_), -EINVAL);
}

TEST_F(IommufdMockTest, PasidNeedsTheDevicesOwnTableMadeForPasidsToo) {
  const uint32_t nested = Nested(Parent());
  EXPECT_EQ(mocks_.AttachPasid(device_.handle, kPasid, nested), -EINVAL)
      << "the device itself is in a table that was made without IOMMU_HWPT_ALLOC_PASID";
}

// The mock refuses; VT-d takes it in vain (cdev_test.cc). The agent looks at the width first.
TEST_F(IommufdMockTest, PasidOfADeviceWithoutPasidsIsNotAttached) {
  const MockDevices::Device device = mocks_.Create(ioas_, false);
  ASSERT_EQ(device.result, 0);
  uapi::iommu_hw_info info = {};
  ASSERT_EQ(iommufd_.GetHardware(device.id, &info), 0);
  EXPECT_EQ(info.out_max_pasid_log2, 0);
  const uint32_t parent = Parent();
  ASSERT_EQ(mocks_.Replace(device.handle, parent), 0);
  EXPECT_EQ(mocks_.AttachPasid(device.handle, kPasid, Nested(parent)), -EINVAL);
  EXPECT_EQ(mocks_.CheckPasid(device.handle, kPasid, kNoTable), 0);
}

TEST_F(IommufdMockTest, InvalidationReachesTheEntriesThatItNames) {
  const uint32_t nested = Nested(Parent(), 9);
  uint32_t done = 0;
  const MockInvalidation one = {.flags = 0, .entry = 1};
  EXPECT_EQ(iommufd_.Invalidate(nested, kMockInvalidation, &one, sizeof(one), 1, &done), 0);
  EXPECT_EQ(done, 1u);
  EXPECT_EQ(mocks_.CheckIotlb(nested, 0, 9), 0);
  EXPECT_EQ(mocks_.CheckIotlb(nested, 1, 0), 0);
  const MockInvalidation all = {.flags = 1, .entry = 0};
  EXPECT_EQ(iommufd_.Invalidate(nested, kMockInvalidation, &all, sizeof(all), 1, &done), 0);
  for (uint32_t entry = 0; entry < kMockIotlbEntries; ++entry) {
    EXPECT_EQ(mocks_.CheckIotlb(nested, entry, 0), 0);
  }
}

TEST_F(IommufdMockTest, InvalidationTellsHowFarItCame) {
  const uint32_t nested = Nested(Parent(), 9);
  const std::array<MockInvalidation, 2> entries = {{{.entry = 0}, {.entry = kMockIotlbEntries}}};
  uint32_t done = 9;
  EXPECT_EQ(
      iommufd_.Invalidate(nested, kMockInvalidation, entries.data(), sizeof(entries[0]), 2, &done),
      -EINVAL);
  EXPECT_EQ(done, 1u);
  EXPECT_EQ(mocks_.CheckIotlb(nested, 0, 0), 0);
  // Of no entries it asks whether the type is known.
  EXPECT_EQ(iommufd_.Invalidate(nested, kMockInvalidation, nullptr, sizeof(entries[0]), 0, &done),
            0);
  EXPECT_EQ(iommufd_.Invalidate(nested, 1, nullptr, sizeof(entries[0]), 0, &done), -EINVAL);
}

TEST_F(IommufdMockTest, ViommuNestsADeviceAndInvalidatesByItsVirtualId) {
  const uint32_t parent = Parent();
  ASSERT_EQ(mocks_.Replace(device_.handle, parent), 0);
  const int64_t viommu = iommufd_.AllocateViommu(device_.id, parent, kMockViommuType);
  if (viommu == -ENOTTY) GTEST_SKIP() << "no vIOMMUs (Linux 6.13)";
  EXPECT_EQ(iommufd_.AllocateViommu(device_.id, parent, 0), -EOPNOTSUPP);
  constexpr uint64_t kVirtualId = 0x42;
  EXPECT_THAT(iommufd_.AllocateVdevice(Id(viommu), device_.id, kVirtualId), Gt(0));
  EXPECT_EQ(iommufd_.AllocateVdevice(Id(viommu), device_.id, kVirtualId), -EEXIST);
  EXPECT_EQ(mocks_.Replace(device_.handle, Id(TryNested(Id(viommu), 3))), 0);

  uint32_t done = 0;
  MockViommuInvalidation invalidation = {.flags = 0, .virtual_id = kVirtualId, .entry = 2};
  EXPECT_EQ(iommufd_.Invalidate(Id(viommu), kMockInvalidation, &invalidation, sizeof(invalidation),
                                1, &done),
            0);
  EXPECT_EQ(mocks_.CheckCache(device_.id, 2, 0), 0);
  EXPECT_EQ(mocks_.CheckCache(device_.id, 1, kMockCacheDefault), 0);
  invalidation.virtual_id = kVirtualId + 1;
  EXPECT_EQ(iommufd_.Invalidate(Id(viommu), kMockInvalidation, &invalidation, sizeof(invalidation),
                                1, &done),
            -EINVAL);
}

TEST_F(IommufdMockTest, PageRequestIsReadAndAnswered) {
  int file = -1;
  const int64_t queue = iommufd_.AllocateFaultQueue(&file);
  ASSERT_THAT(queue, Gt(0));
  const uint32_t parent = Parent();
  ASSERT_EQ(mocks_.Replace(device_.handle, parent), 0);
  const uint32_t nested = Id(TryNested(
      parent, 1, uapi::IOMMU_HWPT_ALLOC_PASID | uapi::IOMMU_HWPT_FAULT_ID_VALID, Id(queue)));
  ASSERT_EQ(mocks_.AttachPasid(device_.handle, kPasid, nested), 0);
  ASSERT_EQ(mocks_.RequestPage(device_.id, kPasid, 0xdead0000), 0);

  // iommu_hwpt_pgfault: flags, device, PASID, group, rights, 0, address, length, cookie.
  std::array<uint32_t, 10> request = {};
  ASSERT_EQ(read(file, request.data(), sizeof(request)), static_cast<ssize_t>(sizeof(request)));
  EXPECT_EQ(request[1], device_.id);
  EXPECT_EQ(request[2], kPasid);
  EXPECT_EQ(request[6], 0xdead0000u);
  const std::array<uint32_t, 2> response = {request[9], 0};  // iommu_hwpt_page_response
  EXPECT_EQ(write(file, response.data(), sizeof(response)), static_cast<ssize_t>(sizeof(response)));
  EXPECT_EQ(mocks_.DetachPasid(device_.handle, kPasid), 0);
  close(file);
}

}  // namespace
}  // namespace nestor::kernel_test
