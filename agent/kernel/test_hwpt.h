// Test only: a device under a nest parent of an iommufd.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "agent/kernel/test_iommufd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {

inline constexpr uint64_t kRam = 0x100000;
inline constexpr uint64_t kRoot = kRam;
inline constexpr uint64_t kOtherRoot = kRam + 0x40000;
inline constexpr uint64_t kPageA = kRam + 0x100000;
inline constexpr uint64_t kPageB = kRam + 0x101000;
inline constexpr uint64_t kAddress = 0x7f0000000000;
inline constexpr uint32_t kPasid = 5;
inline constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
inline constexpr uint32_t kParentFlag = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT;
inline constexpr uint32_t kPasidFlag = uapi::IOMMU_HWPT_ALLOC_PASID;

// A device with RAM under a nest parent, and two tables of a guest in it.
class SimHwptTest : public ::testing::Test {
 protected:
  explicit SimHwptTest(const SimMachine& machine = IommufdMachine()) : kernel_(machine) {}

  void SetUp() override {
    table_.Map(kAddress, kPageA);
    other_table_.Map(kAddress, kPageB);
    ram_.Write(kPageA, "of the first table");
    ram_.Write(kPageB, "of another table..");
    ASSERT_EQ(iommufd_.Map(ioas_, ram_), 0);
    ASSERT_THAT(device_, ::testing::Ge(1));
  }
  std::string ReadText(uint32_t pasid = kPasid) { return engine_.Read(pasid, kAddress, 18); }
  // The data as it is, of whatever length.
  int AllocRaw(uint32_t type, const void* data, uint32_t length, uint32_t flags = kPasidFlag) {
    uapi::iommu_hwpt_alloc alloc = {};
    alloc.flags = flags;
    alloc.dev_id = static_cast<uint32_t>(device_);
    alloc.pt_id = static_cast<uint32_t>(parent_);
    alloc.data_type = type;
    alloc.data_len = length;
    alloc.data_uptr = reinterpret_cast<uint64_t>(data);
    return iommufd_.Hwpt(alloc);
  }
  // Bits of a PASID and the result.
  uapi::iommu_hw_info HwInfo() {
    uapi::iommu_hw_info info = {};
    info.size = sizeof(info);
    info.dev_id = static_cast<uint32_t>(device_);
    info.data_len = sizeof(vtd_);
    info.data_uptr = reinterpret_cast<uint64_t>(&vtd_);
    EXPECT_EQ(iommufd_.Call(uapi::IOMMU_GET_HW_INFO, &info), 0);
    return info;
  }

  const TestRam ram_{kRam};
  TestPageTable table_{ram_, kRoot};
  TestPageTable other_table_{ram_, kOtherRoot};
  SimKernel kernel_;
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TestIommufd iommufd_{*process_};
  TestCdev cdev_{*process_};
  int device_ = cdev_.Bind(iommufd_.fd());
  int ioas_ = iommufd_.Ioas();
  int parent_ = iommufd_.Parent(device_, ioas_);
  TestEngine engine_{*process_, cdev_.fd()};
  uapi::iommu_hw_info_vtd vtd_ = {};
};

}  // namespace nestor::kernel
