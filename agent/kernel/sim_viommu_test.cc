// IOMMUs of other vendors: SMMUv3, which nests per device through a vIOMMU, and AMD, whose
// nested page tables cannot be made yet.

#include <cerrno>
#include <string>

#include "agent/kernel/test_iommufd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::Ge;

constexpr uint64_t kRam = 0x100000;
constexpr uint64_t kStreamId = 0x21;
constexpr uint32_t kParentFlag = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT;
constexpr uint32_t kPasidFlag = uapi::IOMMU_HWPT_ALLOC_PASID;

constexpr uint64_t Entry(uint64_t configuration) {
  return uapi::SMMU_STE_0_V | configuration << uapi::SMMU_STE_0_CFG_SHIFT;
}
constexpr uint64_t kTranslate = Entry(uapi::SMMU_STE_0_CFG_S1_TRANS);

SimMachine MachineOf(SimIommuHardware hardware,
                     SimPersonality personality = SimPersonality::kLinux7_2) {
  SimMachine machine = IommufdMachine(2, personality);
  machine.iommu.hardware = hardware;
  return machine;
}

class SimViommuTest : public ::testing::Test {
 protected:
  int Viommu(uint32_t type = uapi::IOMMU_VIOMMU_TYPE_ARM_SMMUV3) { return Viommu(type, parent_); }
  int Viommu(uint32_t type, int parent, uint32_t flags = 0) {
    uapi::iommu_viommu_alloc alloc = {};
    alloc.size = uapi::IOMMU_VIOMMU_ALLOC_MIN_SIZE;
    alloc.flags = flags;
    alloc.type = type;
    alloc.dev_id = static_cast<uint32_t>(device_);
    alloc.hwpt_id = static_cast<uint32_t>(parent);
    const int result = iommufd_.Call(uapi::IOMMU_VIOMMU_ALLOC, &alloc);
    return result < 0 ? result : static_cast<int>(alloc.out_viommu_id);
  }
  int Vdevice(int viommu, int device, uint64_t name = kStreamId) {
    uapi::iommu_vdevice_alloc alloc = {.size = sizeof(alloc),
                                       .viommu_id = static_cast<uint32_t>(viommu),
                                       .dev_id = static_cast<uint32_t>(device),
                                       .out_vdevice_id = 0,
                                       .virt_id = name};
    const int result = iommufd_.Call(uapi::IOMMU_VDEVICE_ALLOC, &alloc);
    return result < 0 ? result : static_cast<int>(alloc.out_vdevice_id);
  }
  int Nested(int viommu, uint64_t first, uint64_t second = 0, uint32_t flags = 0) {
    const uapi::iommu_hwpt_arm_smmuv3 data = {.ste = {first, second}};
    return iommufd_.Nested(device_, viommu, uapi::IOMMU_HWPT_DATA_ARM_SMMUV3, data, flags);
  }
  int Command(int viommu, uint64_t first) {
    uapi::iommu_viommu_arm_smmuv3_invalidate commands[2] = {};
    commands[0].cmd[0] = 0x30;
    commands[1].cmd[0] = first;
    invalidate_ = {};
    invalidate_.size = sizeof(invalidate_);
    invalidate_.hwpt_id = static_cast<uint32_t>(viommu);
    invalidate_.data_uptr = reinterpret_cast<uint64_t>(commands);
    invalidate_.data_type = uapi::IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
    invalidate_.entry_len = sizeof(commands[0]);
    invalidate_.entry_num = 2;
    return iommufd_.Call(uapi::IOMMU_HWPT_INVALIDATE, &invalidate_);
  }

  const TestRam ram_{kRam};
  SimKernel kernel_{MachineOf(SimIommuHardware::kSmmuV3)};
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TestIommufd iommufd_{*process_};
  TestCdev cdev_{*process_};
  int device_ = cdev_.Bind(iommufd_.fd());
  int ioas_ = iommufd_.Ioas();
  int mapped_ = iommufd_.Map(ioas_, ram_);
  int parent_ = iommufd_.Paging(device_, ioas_, kParentFlag);
  TestEngine engine_{*process_, cdev_.fd()};
  uapi::iommu_hwpt_invalidate invalidate_ = {};
};

TEST_F(SimViommuTest, ViommuChecksTypeAndParent) {
  EXPECT_EQ(Viommu(uapi::IOMMU_VIOMMU_TYPE_DEFAULT), -EOPNOTSUPP);
  EXPECT_EQ(Viommu(uapi::IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV), -EOPNOTSUPP);
  EXPECT_EQ(Viommu(uapi::IOMMU_VIOMMU_TYPE_ARM_SMMUV3, parent_, 1), -EOPNOTSUPP);
  EXPECT_EQ(Viommu(uapi::IOMMU_VIOMMU_TYPE_ARM_SMMUV3, 99), -ENOENT);
  EXPECT_EQ(Viommu(uapi::IOMMU_VIOMMU_TYPE_ARM_SMMUV3, iommufd_.Paging(device_, ioas_, 0)),
            -EINVAL);
  EXPECT_THAT(Viommu(), Ge(1));
  EXPECT_EQ(iommufd_.Destroy(parent_), -EBUSY);
}

TEST_F(SimViommuTest, DeviceAndNameAreInOnePlaceOnly) {
  TestCdev other(*process_, "vfio1");
  const int other_device = other.Bind(iommufd_.fd());
  const int viommu = Viommu();
  ASSERT_THAT(Vdevice(viommu, device_), Ge(1));
  EXPECT_EQ(Vdevice(viommu, device_, kStreamId + 1), -EEXIST);
  EXPECT_EQ(Vdevice(viommu, other_device), -EEXIST);
  EXPECT_EQ(Vdevice(99, other_device), -ENOENT);
  EXPECT_EQ(Vdevice(viommu, 99), -ENOENT);
  EXPECT_THAT(Vdevice(viommu, other_device, kStreamId + 1), Ge(1));
  EXPECT_EQ(iommufd_.Destroy(viommu), -EBUSY);
}

TEST_F(SimViommuTest, IdOfAVdeviceIsBurntWithItsDevice) {
  const int vdevice = Vdevice(Viommu(), device_);
  cdev_.Close();
  EXPECT_EQ(iommufd_.Destroy(vdevice), -ENOENT);
  EXPECT_EQ(iommufd_.Ioas(), device_);
  EXPECT_GT(iommufd_.Ioas(), vdevice);
}

TEST_F(SimViommuTest, TranslatingEntryNeedsAVdevice) {
  const int viommu = Viommu();
  const int nested = Nested(viommu, kTranslate);
  EXPECT_EQ(cdev_.Attach(nested), -ENOENT);
  const int vdevice = Vdevice(viommu, device_);
  EXPECT_EQ(cdev_.Attach(nested), nested);
  EXPECT_EQ(iommufd_.Destroy(vdevice), 0);
}

TEST_F(SimViommuTest, GuestsContextTableIsNotWalkedAndSaysSo) {
  const int viommu = Viommu();
  ASSERT_THAT(Vdevice(viommu, device_), Ge(1));
  ASSERT_THAT(cdev_.Attach(Nested(viommu, kTranslate)), Ge(1));
  EXPECT_FALSE(engine_.Write({}, kRam, "x"));
  EXPECT_EQ(engine_.reason(), kSimFaultReasonNotModelled);
  EXPECT_EQ(FaultReasonName(kSimFaultReasonNotModelled), "NOT_MODELLED");
}

TEST_F(SimViommuTest, BypassAndAbortNeedNoVdevice) {
  const int viommu = Viommu();
  ASSERT_THAT(cdev_.Attach(Nested(viommu, Entry(uapi::SMMU_STE_0_CFG_BYPASS))), Ge(1));
  EXPECT_TRUE(engine_.Write({}, kRam, "x"));
  ASSERT_THAT(cdev_.Attach(Nested(viommu, Entry(uapi::SMMU_STE_0_CFG_ABORT))), Ge(1));
  EXPECT_FALSE(engine_.Write({}, kRam, "x"));
  ASSERT_THAT(cdev_.Attach(parent_), Ge(1));
  EXPECT_TRUE(engine_.Write({}, kRam, "x"));
  ASSERT_THAT(cdev_.Attach(Nested(viommu, /*first=*/0)), Ge(1));  // not valid: abort
  EXPECT_FALSE(engine_.Write({}, kRam, "x"));
}

TEST_F(SimViommuTest, IllegalEntriesAreRefused) {
  const int viommu = Viommu();
  EXPECT_EQ(Nested(viommu, Entry(6)), -EIO);
  EXPECT_EQ(Nested(viommu, kTranslate | uint64_t{1} << 52), -EIO);
  EXPECT_EQ(Nested(viommu, kTranslate, uint64_t{1} << 8), -EIO);
  EXPECT_EQ(Nested(viommu, kTranslate, uint64_t{2} << 28), -EIO);
  EXPECT_THAT(Nested(viommu, kTranslate, uint64_t{1} << 28), Ge(1));
}

TEST_F(SimViommuTest, NestedHwptIsOfTheViommuAndNotPerPasid) {
  const int viommu = Viommu();
  EXPECT_EQ(Nested(parent_, kTranslate), -EOPNOTSUPP);
  EXPECT_EQ(Nested(viommu, kTranslate, 0, kPasidFlag), -EOPNOTSUPP);
  EXPECT_EQ(iommufd_.Paging(device_, ioas_, kParentFlag | kPasidFlag), -EOPNOTSUPP);
  EXPECT_EQ(iommufd_.Vtd(device_, viommu, kRam, 48, 0, 0), -EINVAL);
  EXPECT_EQ(cdev_.AttachPasid(1, Nested(viommu, kTranslate)), -EINVAL);
}

TEST_F(SimViommuTest, CommandsOfAGuestAreChecked) {
  const int viommu = Viommu();
  ASSERT_THAT(Vdevice(viommu, device_), Ge(1));
  EXPECT_EQ(Command(viommu, 0x12), 0);
  EXPECT_EQ(invalidate_.entry_num, 2u);
  EXPECT_EQ(Command(viommu, 0x06 | kStreamId << 32), 0);
  EXPECT_EQ(Command(viommu, 0x06 | (kStreamId + 1) << 32), -EIO);
  EXPECT_EQ(Command(viommu, 0x03 | kStreamId << 32), -EIO);
  EXPECT_EQ(invalidate_.entry_num, 1u);
  EXPECT_EQ(iommufd_.Invalidate(viommu, 0, 1), -EINVAL);
  EXPECT_EQ(iommufd_.Invalidate(Nested(viommu, 0), 0, 1), -EOPNOTSUPP);
}

TEST(SimOtherIommuTest, AmdHasParentsButNothingToNest) {
  SimKernel kernel(MachineOf(SimIommuHardware::kAmd));
  const auto process = kernel.CreateProcess();
  TestIommufd iommufd(*process);
  TestCdev cdev(*process);
  const int device = cdev.Bind(iommufd.fd());
  const int ioas = iommufd.Ioas();
  const int parent = iommufd.Paging(device, ioas, kParentFlag);
  ASSERT_THAT(parent, Ge(1));
  const uapi::iommu_hwpt_amd_guest data = {};
  EXPECT_EQ(iommufd.Nested(device, parent, uapi::IOMMU_HWPT_DATA_AMD_GUEST, data, 0), -EOPNOTSUPP);
  EXPECT_EQ(iommufd.Parent(device, ioas), -EOPNOTSUPP);
  const int with_pasids = iommufd.Paging(device, ioas, kPasidFlag);
  ASSERT_THAT(with_pasids, Ge(1));
  EXPECT_EQ(cdev.AttachPasid(1, with_pasids), -EOPNOTSUPP);
}

TEST(SimOtherIommuTest, OldKernelsNestOnVtdAlone) {
  for (const auto hardware : {SimIommuHardware::kSmmuV3, SimIommuHardware::kAmd}) {
    SimKernel kernel(MachineOf(hardware, SimPersonality::kLinux6_12));
    const auto process = kernel.CreateProcess();
    TestIommufd iommufd(*process);
    TestCdev cdev(*process);
    const int device = cdev.Bind(iommufd.fd());
    EXPECT_EQ(iommufd.Paging(device, iommufd.Ioas(), kParentFlag), -EOPNOTSUPP);
  }
}

}  // namespace
}  // namespace nestor::kernel
