// Page tables of iommufd under VT-d: what hardware there is, which can be made, which destroyed.

#include <cerrno>

#include "agent/kernel/test_hwpt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::Ge;
using ::testing::IsEmpty;

TEST_F(SimHwptTest, HardwareIsDescribed) {
  const uapi::iommu_hw_info info = HwInfo();
  EXPECT_EQ(info.out_data_type, uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD);
  EXPECT_EQ(info.data_len, sizeof(vtd_));
  EXPECT_EQ(info.out_max_pasid_log2, 20);
  EXPECT_EQ(info.out_capabilities,
            uapi::IOMMU_HW_CAP_PCI_PASID_PRIV | uapi::IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
  EXPECT_EQ(vtd_.flags, uapi::IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17);
  EXPECT_NE(vtd_.ecap_reg & 1ull << 26, 0u);  // nested translation
  EXPECT_EQ(vtd_.ecap_reg >> 35 & 0x1f, 19u);
}

TEST_F(SimHwptTest, DescriptionIsCutToTheRoomThereIs) {
  uapi::iommu_hw_info info = {};
  info.size = uapi::IOMMU_HW_INFO_MIN_SIZE;
  info.dev_id = static_cast<uint32_t>(device_);
  info.data_len = 8;
  info.data_uptr = reinterpret_cast<uint64_t>(&vtd_);
  vtd_.ecap_reg = 7;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_GET_HW_INFO, &info), 0);
  EXPECT_EQ(vtd_.ecap_reg, 7u);
  EXPECT_EQ(info.data_len, sizeof(vtd_));
  EXPECT_EQ(info.out_capabilities, 0u);  // beyond its size
  info.dev_id = 99;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_GET_HW_INFO, &info), -ENOENT);
  info.flags = 2;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_GET_HW_INFO, &info), -EOPNOTSUPP);
}

TEST_F(SimHwptTest, PagingHwptChecksFlagsAndParent) {
  EXPECT_EQ(iommufd_.Paging(device_, ioas_, 16), -EOPNOTSUPP);
  EXPECT_EQ(iommufd_.Paging(device_, ioas_, uapi::IOMMU_HWPT_ALLOC_DIRTY_TRACKING), -EOPNOTSUPP);
  EXPECT_EQ(iommufd_.Paging(device_, ioas_, kParentFlag | uapi::IOMMU_HWPT_FAULT_ID_VALID),
            -EOPNOTSUPP);
  EXPECT_EQ(iommufd_.Paging(device_, ioas_, uapi::IOMMU_HWPT_FAULT_ID_VALID), -ENOENT);
  EXPECT_EQ(iommufd_.Paging(99, ioas_, 0), -ENOENT);
  EXPECT_EQ(iommufd_.Paging(device_, 99, 0), -EINVAL);
  EXPECT_EQ(iommufd_.Paging(device_, device_, 0), -EINVAL);
  EXPECT_EQ(kernel_.Statistics().hwpts, 1);
}

TEST_F(SimHwptTest, NestedHwptChecksItsData) {
  const uapi::iommu_hwpt_vtd_s1 data = {
      .flags = 0, .pgtbl_addr = kRoot, .addr_width = 48, .reserved = 0};
  constexpr uint32_t kVtd = uapi::IOMMU_HWPT_DATA_VTD_S1;
  EXPECT_EQ(AllocRaw(kVtd, &data, 0), -EINVAL);
  EXPECT_EQ(AllocRaw(uapi::IOMMU_HWPT_DATA_NONE, &data, 24), -EINVAL);
  EXPECT_EQ(AllocRaw(uapi::IOMMU_HWPT_DATA_NONE, nullptr, 0), -EOPNOTSUPP);
  EXPECT_EQ(AllocRaw(uapi::IOMMU_HWPT_DATA_ARM_SMMUV3, &data, 16), -EOPNOTSUPP);
  EXPECT_EQ(AllocRaw(kVtd, &data, 23), -EINVAL);
  EXPECT_EQ(AllocRaw(kVtd, &data, 25), -EINVAL);
  EXPECT_EQ(AllocRaw(kVtd, nullptr, 24), -EFAULT);
  EXPECT_EQ(AllocRaw(kVtd, &data, 24, kPasidFlag | kParentFlag), -EOPNOTSUPP);
  EXPECT_EQ(AllocRaw(kVtd, &data, 24, uapi::IOMMU_HWPT_FAULT_ID_VALID), -ENOENT);
  EXPECT_THAT(AllocRaw(kVtd, &data, 24), Ge(1));
}

TEST_F(SimHwptTest, NestedHwptNeedsANestParent) {
  EXPECT_EQ(iommufd_.Vtd(device_, iommufd_.Paging(device_, ioas_, kPasidFlag), kRoot), -EINVAL);
  EXPECT_EQ(iommufd_.Vtd(device_, cdev_.Attach(ioas_), kRoot), -EINVAL);
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  EXPECT_EQ(iommufd_.Vtd(device_, nested, kRoot), -EINVAL);
  EXPECT_EQ(iommufd_.Vtd(device_, 99, kRoot), -EINVAL);
}

TEST_F(SimHwptTest, ObjectsAreDestroyedLeafFirst) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  ASSERT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_EQ(iommufd_.Destroy(ioas_), -EBUSY);
  EXPECT_EQ(iommufd_.Destroy(parent_), -EBUSY);
  EXPECT_EQ(iommufd_.Destroy(nested), -EBUSY);
  ASSERT_EQ(cdev_.DetachPasid(kPasid), 0);
  EXPECT_EQ(iommufd_.Destroy(nested), 0);
  EXPECT_EQ(iommufd_.Destroy(nested), -ENOENT);
  EXPECT_EQ(iommufd_.Destroy(parent_), 0);
  EXPECT_EQ(iommufd_.Destroy(ioas_), 0);
  EXPECT_EQ(kernel_.Statistics().mappings, 0);
}

TEST_F(SimHwptTest, NumbersNeedOnlyAStruct) {
  uint32_t size = 4;
  for (const uint32_t request :
       {uapi::IOMMU_FAULT_QUEUE_ALLOC, uapi::IOMMU_VIOMMU_ALLOC, uapi::IOMMU_VEVENTQ_ALLOC}) {
    EXPECT_EQ(iommufd_.Call(request, &size), -EINVAL);
  }
  EXPECT_EQ(iommufd_.Call(0x3b95, &size), -ENOTTY);
  EXPECT_EQ(iommufd_.Call(uapi::VFIO_DEVICE_BIND_IOMMUFD, &size), -ENOTTY);
}

TEST_F(SimHwptTest, LongerStructMustEndInZeros) {
  struct {
    uapi::iommu_ioas_alloc alloc = {.size = 16, .flags = 0, .out_ioas_id = 0};
    uint32_t tail = 1;
  } longer;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_ALLOC, &longer), -E2BIG);
  longer.tail = 0;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_ALLOC, &longer), 0);
  EXPECT_EQ(longer.tail, 0u);
  longer.alloc.flags = 1;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_ALLOC, &longer), -EOPNOTSUPP);
}

SimMachine WithoutPasids() {
  SimMachine machine = IommufdMachine();
  machine.devices[0].pasid_bits = 0;
  return machine;
}

class SimHwptWithoutPasidsTest : public SimHwptTest {
 protected:
  SimHwptWithoutPasidsTest() : SimHwptTest(WithoutPasids()) {}
};

TEST_F(SimHwptWithoutPasidsTest, AttachSucceedsWithoutEffect) {
  EXPECT_EQ(HwInfo().out_max_pasid_log2, 0);
  const int nested = iommufd_.Vtd(device_, parent_, kRoot);
  EXPECT_EQ(cdev_.AttachPasid(kPasid, nested), nested);
  EXPECT_THAT(kernel_.Bindings(), IsEmpty());
  EXPECT_EQ(ReadText(), "");
  EXPECT_EQ(cdev_.AttachPasid(1u << 31, nested), -ENOSPC);
}

class SimHwpt612Test : public SimHwptTest {
 protected:
  SimHwpt612Test() : SimHwptTest(IommufdMachine(2, SimPersonality::kLinux6_12)) {
    parent_ = iommufd_.Paging(device_, ioas_, kParentFlag);
  }
};

TEST_F(SimHwpt612Test, DeviceIsNestedAndPasidsAreRefusedInTheirOwnWays) {
  const int nested = iommufd_.Vtd(device_, parent_, kRoot, 48, 0, 0);
  ASSERT_EQ(cdev_.Attach(nested), nested);
  EXPECT_EQ(engine_.Read({}, kAddress, 18), "of the first table");
  EXPECT_EQ(cdev_.AttachPasid(kPasid, nested), -EINVAL);
  EXPECT_EQ(cdev_.DetachPasid(kPasid), -EINVAL);
  EXPECT_EQ(iommufd_.Vtd(device_, parent_, kRoot), -EOPNOTSUPP);
  EXPECT_EQ(iommufd_.Parent(device_, ioas_), -EOPNOTSUPP);
  uint32_t size = 4;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_VIOMMU_ALLOC, &size), -ENOTTY);
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_MAP_FILE, &size), -ENOTTY);
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_FAULT_QUEUE_ALLOC, &size), -EINVAL);
}

TEST_F(SimHwpt612Test, PasidWidthIsReportedAllTheSame) {
  EXPECT_EQ(HwInfo().out_max_pasid_log2, 20);
}

TEST(SimHwptMachineTest, IommuThatDoesNotNestSaysSo) {
  SimMachine machine = IommufdMachine();
  machine.iommu.nesting = false;
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TestIommufd iommufd(*process);
  TestCdev cdev(*process);
  const int device = cdev.Bind(iommufd.fd());
  const int ioas = iommufd.Ioas();
  EXPECT_EQ(iommufd.Paging(device, ioas, kParentFlag), -EOPNOTSUPP);
  EXPECT_THAT(iommufd.Paging(device, ioas, 0), Ge(1));
}

}  // namespace
}  // namespace nestor::kernel
