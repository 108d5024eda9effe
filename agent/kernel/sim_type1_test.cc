// VFIO_IOMMU_GET_INFO, VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA, and what each kernel
// answers to one who looks for nesting.

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kType1 = uapi::VFIO_TYPE1_IOMMU;
constexpr uint32_t kType1v2 = uapi::VFIO_TYPE1v2_IOMMU;
constexpr uint32_t kNesting = uapi::VFIO_TYPE1_NESTING_IOMMU;
constexpr uint64_t kPage = 4096;

// One process with a container over group 1.
class SimType1Test : public ::testing::Test {
 protected:
  SimType1Test() { Boot(DefaultSimMachine(1)); }

  // Starts over on another machine, the container's IOMMU not set.
  void Boot(const SimMachine& machine) {
    container_.reset();
    process_.reset();
    kernel_ = std::make_unique<SimKernel>(machine);
    process_ = kernel_->CreateProcess();
    container_ = std::make_unique<TestContainer>(*process_, 1);
  }
  void Boot(SimPersonality personality) {
    SimMachine machine = DefaultSimMachine(1);
    machine.personality = personality;
    Boot(machine);
  }
  uint64_t Memory() const { return ram_.user_address(); }

  // The capabilities' ids in the order of the chain.
  std::vector<uint16_t> CapabilityIds() {
    TestBytes info(4096);
    const uint32_t size = 4096;
    std::memcpy(info.data(), &size, 4);
    EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_GET_INFO, info.data()), 0);
    uapi::vfio_iommu_type1_info head;
    std::memcpy(&head, info.data(), sizeof(head));
    std::vector<uint16_t> ids;
    for (uint32_t offset = head.cap_offset; offset != 0;) {
      uapi::vfio_info_cap_header header;
      std::memcpy(&header, info.data() + offset, sizeof(header));
      ids.push_back(header.id);
      offset = header.next;
    }
    return ids;
  }

  const TestRam ram_{0, 16 * kPage};
  std::unique_ptr<SimKernel> kernel_;
  std::unique_ptr<SimProcess> process_;
  std::unique_ptr<TestContainer> container_;
};

TEST_F(SimType1Test, InfoNamesTheSizeItNeeds) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  uapi::vfio_iommu_type1_info info = {};
  info.argsz = sizeof(info);
  info.cap_offset = 99;
  ASSERT_EQ(container_->Call(uapi::VFIO_IOMMU_GET_INFO, &info), 0);
  EXPECT_EQ(info.argsz, 160U);
  EXPECT_EQ(info.flags, uapi::VFIO_IOMMU_INFO_PGSIZES | uapi::VFIO_IOMMU_INFO_CAPS);
  EXPECT_EQ(info.cap_offset, 0U);
  TestBytes whole(info.argsz);
  std::memcpy(whole.data(), &info, sizeof(info));
  ASSERT_EQ(container_->Call(uapi::VFIO_IOMMU_GET_INFO, whole.data()), 0);
  std::memcpy(&info, whole.data(), sizeof(info));
  EXPECT_EQ(info.argsz, 160U);
  EXPECT_EQ(info.cap_offset, 24U);
}

TEST_F(SimType1Test, InfoOfAnOldCallerEndsBeforeTheCapabilities) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  uapi::vfio_iommu_type1_info info = {};
  info.argsz = 16;
  info.cap_offset = 99;
  ASSERT_EQ(container_->Call(uapi::VFIO_IOMMU_GET_INFO, &info), 0);
  EXPECT_EQ(info.cap_offset, 99U);
  EXPECT_EQ(info.iova_pgsizes, ~uint64_t{4095});
}

TEST_F(SimType1Test, InfoChecksItsArgument) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  uapi::vfio_iommu_type1_info info = {};
  info.argsz = 15;
  EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_GET_INFO, &info), -EINVAL);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_IOMMU_GET_INFO, 8), -EFAULT);
}

TEST_F(SimType1Test, InfoFailsAsAWholeWhereTheDriverKnowsNoFormat) {
  SimMachine machine = DefaultSimMachine(1);
  machine.iommu.nesting_format = uapi::IOMMU_PASID_FORMAT_NONE;
  machine.iommu.nesting_features = 0;
  Boot(machine);
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  uapi::vfio_iommu_type1_info info = {};
  info.argsz = sizeof(info);
  EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_GET_INFO, &info), -ENOENT);
}

// A14.
TEST_F(SimType1Test, NestingCapabilityIsThereOnlyAfterNestingWasSet) {
  ASSERT_EQ(container_->SetIommu(kType1v2), 0);
  EXPECT_THAT(CapabilityIds(), ElementsAre(2, 1));
  Boot(SimPersonality::kSeriesV6);
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_THAT(CapabilityIds(), ElementsAre(2, 1, 3));
}

TEST_F(SimType1Test, MapChecksItsArgument) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_EQ(container_->Map(0, kPage, Memory(), 0), -EINVAL);  // neither READ nor WRITE
  EXPECT_EQ(container_->Map(0, kPage, Memory(), 4), -EINVAL);
  EXPECT_EQ(container_->Map(0, 0, Memory()), -EINVAL);
  EXPECT_EQ(container_->Map(1, kPage, Memory()), -EINVAL);
  EXPECT_EQ(container_->Map(0, kPage + 1, Memory()), -EINVAL);
  EXPECT_EQ(container_->Map(0, kPage, Memory() + 1), -EINVAL);
  EXPECT_EQ(container_->Map(~(kPage - 1), 2 * kPage, Memory()), -EINVAL);  // wraps
  EXPECT_EQ(container_->Map(0, 2 * kPage, ~(kPage - 1)), -EINVAL);
  uapi::vfio_iommu_type1_dma_map map = {.argsz = 31, .flags = 1, .vaddr = 0, .iova = 0, .size = 0};
  EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_MAP_DMA, &map), -EINVAL);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_IOMMU_MAP_DMA, 8), -EFAULT);
  EXPECT_EQ(kernel_->Statistics().mappings, 0);
}

TEST_F(SimType1Test, MapRefusesMemoryThatIsNotThere) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_EQ(container_->Map(0, kPage, 0), -EFAULT);
  munmap(reinterpret_cast<void*>(Memory() + kPage), kPage);
  EXPECT_EQ(container_->Map(0, 3 * kPage, Memory()), -EFAULT);
  mprotect(reinterpret_cast<void*>(Memory()), kPage, PROT_READ);
  EXPECT_EQ(container_->Map(0, kPage, Memory()), -EFAULT);
  EXPECT_EQ(container_->Map(0, kPage, Memory(), uapi::VFIO_DMA_MAP_FLAG_READ), 0);
}

TEST_F(SimType1Test, MapStaysInsideTheIovaRanges) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_EQ(container_->Map(0xfee00000, kPage, Memory()), -EINVAL);
  EXPECT_EQ(container_->Map(0xfedff000, 2 * kPage, Memory()), -EINVAL);
  EXPECT_EQ(container_->Map(uint64_t{1} << 48, kPage, Memory()), -EINVAL);
  EXPECT_EQ(container_->Map(0xfedff000, kPage, Memory()), 0);
  EXPECT_EQ(container_->Map(0xfef00000, kPage, Memory()), 0);
  EXPECT_EQ(container_->Map((uint64_t{1} << 48) - kPage, kPage, Memory()), 0);
}

TEST_F(SimType1Test, MapRefusesAnOverlap) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  ASSERT_EQ(container_->Map(4 * kPage, 4 * kPage, Memory()), 0);
  EXPECT_EQ(container_->Map(4 * kPage, 4 * kPage, Memory()), -EEXIST);
  EXPECT_EQ(container_->Map(7 * kPage, kPage, Memory()), -EEXIST);
  EXPECT_EQ(container_->Map(3 * kPage, 2 * kPage, Memory()), -EEXIST);
  EXPECT_EQ(container_->Map(0, 16 * kPage, Memory()), -EEXIST);
  EXPECT_EQ(container_->Map(3 * kPage, kPage, Memory()), 0);
  EXPECT_EQ(container_->Map(8 * kPage, kPage, Memory()), 0);
}

TEST_F(SimType1Test, MapStopsAtTheEntryLimit) {
  SimMachine machine = DefaultSimMachine(1);
  machine.iommu.dma_entry_limit = 2;
  Boot(machine);
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_EQ(container_->Map(0, kPage, Memory()), 0);
  EXPECT_EQ(container_->Map(kPage, kPage, Memory()), 0);
  EXPECT_EQ(container_->Map(2 * kPage, kPage, Memory()), -ENOSPC);
  EXPECT_EQ(container_->Unmap(0, kPage), static_cast<int64_t>(kPage));
  EXPECT_EQ(container_->Map(2 * kPage, kPage, Memory()), 0);
}

TEST_F(SimType1Test, UnmapChecksItsArgument) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_EQ(container_->Unmap(1, kPage), -EINVAL);
  EXPECT_EQ(container_->Unmap(0, 0), -EINVAL);
  EXPECT_EQ(container_->Unmap(0, kPage - 1), -EINVAL);
  EXPECT_EQ(container_->Unmap(~(kPage - 1), 2 * kPage), -EINVAL);
  uapi::vfio_iommu_type1_dma_unmap unmap = {.argsz = 24, .flags = 2, .iova = 0, .size = kPage};
  EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_UNMAP_DMA, &unmap), -EINVAL);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_IOMMU_UNMAP_DMA, 8), -EFAULT);
}

TEST_F(SimType1Test, UnmapThatWouldCutAMappingIsRefused) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  ASSERT_EQ(container_->Map(4 * kPage, 4 * kPage, Memory()), 0);
  EXPECT_EQ(container_->Unmap(4 * kPage, kPage), -EINVAL);
  EXPECT_EQ(container_->Unmap(5 * kPage, 3 * kPage), -EINVAL);
  EXPECT_EQ(container_->Unmap(0, 6 * kPage), -EINVAL);
  EXPECT_EQ(kernel_->Statistics().mappings, 1);
}

TEST_F(SimType1Test, UnmapTakesAllMappingsInsideAndTellsTheirSize) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  ASSERT_EQ(container_->Map(kPage, kPage, Memory()), 0);
  ASSERT_EQ(container_->Map(4 * kPage, 4 * kPage, Memory()), 0);
  EXPECT_EQ(container_->Unmap(0, 16 * kPage), static_cast<int64_t>(5 * kPage));
  EXPECT_EQ(kernel_->Statistics().mappings, 0);
}

TEST_F(SimType1Test, UnmapOverNothingSucceedsWithZeroBytes) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  EXPECT_EQ(container_->Unmap(0, 16 * kPage), 0);
}

TEST_F(SimType1Test, FirstVersionUnmapsWholeMappingsFromTheirStart) {
  ASSERT_EQ(container_->SetIommu(kType1), 0);
  ASSERT_EQ(container_->Map(4 * kPage, 4 * kPage, Memory()), 0);
  EXPECT_EQ(container_->Unmap(5 * kPage, kPage), 0);
  EXPECT_EQ(container_->Unmap(4 * kPage, kPage), static_cast<int64_t>(4 * kPage));
}

TEST_F(SimType1Test, OnlyTheProcessThatMappedCanUnmap) {
  ASSERT_EQ(container_->SetIommu(kNesting), 0);
  ASSERT_EQ(container_->Map(0, kPage, Memory()), 0);
  const auto other = kernel_->CreateProcess();
  const int fd = process_->PassDescriptor(container_->container(), *other);
  uapi::vfio_iommu_type1_dma_unmap unmap = {.argsz = 24, .flags = 0, .iova = 0, .size = kPage};
  EXPECT_EQ(other->IoctlPointer(fd, uapi::VFIO_IOMMU_UNMAP_DMA, &unmap), 0);
  EXPECT_EQ(unmap.size, 0U);
  EXPECT_EQ(container_->Unmap(0, kPage), static_cast<int64_t>(kPage));
}

// What tells the kernels apart.

TEST_F(SimType1Test, BeforeSetIommuEverythingIsInvalid) {
  for (const auto personality :
       {SimPersonality::kSeriesV6, SimPersonality::kLinux6_12, SimPersonality::kLinux7_2}) {
    Boot(personality);
    for (const uint32_t request : {uapi::VFIO_IOMMU_PASID_REQUEST, uapi::VFIO_IOMMU_NESTING_OP,
                                   uapi::VFIO_IOMMU_GET_INFO, 0x3bffu}) {
      EXPECT_EQ(process_->Ioctl(container_->container(), request, 0), -EINVAL);
    }
    EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_GET_API_VERSION, 0), 0);
  }
}

TEST_F(SimType1Test, SeriesKnowsNestingAndItsTwoCalls) {
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_CHECK_EXTENSION, kNesting), 1);
  EXPECT_EQ(container_->SetIommu(kNesting), 0);
  uint32_t too_small[4] = {};
  EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_PASID_REQUEST, too_small), -EINVAL);
  EXPECT_EQ(container_->Call(uapi::VFIO_IOMMU_NESTING_OP, too_small), -EINVAL);
}

TEST_F(SimType1Test, SeriesOnHardwareWithoutNestingRefusesItAndCanBeSetOtherwise) {
  SimMachine machine = DefaultSimMachine(1);
  machine.iommu.nesting = false;
  Boot(machine);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_CHECK_EXTENSION, kNesting), 1);
  EXPECT_EQ(container_->SetIommu(kNesting), -ENODEV);
  EXPECT_EQ(container_->SetIommu(kType1v2), 0);
}

TEST_F(SimType1Test, SeriesWithoutItsPasidModuleRefusesNesting) {
  SimMachine machine = DefaultSimMachine(1);
  machine.iommu.vfio_pasid = false;
  Boot(machine);
  EXPECT_EQ(container_->SetIommu(kNesting), -ENOTTY);
}

TEST_F(SimType1Test, Linux6_12ClaimsNestingAndCannotBeSetToIt) {
  Boot(SimPersonality::kLinux6_12);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_CHECK_EXTENSION, kNesting), 1);
  EXPECT_EQ(container_->SetIommu(kNesting), -EINVAL);
  EXPECT_EQ(container_->SetIommu(kType1v2), 0);
  EXPECT_THAT(CapabilityIds(), ElementsAre(2, 3, 1));  // 3 is DMA_AVAIL
  EXPECT_EQ(container_->Pasid(uapi::VFIO_IOMMU_FLAG_ALLOC_PASID, 1, 1), -ENOTTY);
  EXPECT_EQ(container_->Bind(TestBind()), -ENOTTY);
}

TEST_F(SimType1Test, Linux6_12RefusesNestingOnSmmuInItsOwnWay) {
  SimMachine machine = DefaultSimMachine(1);
  machine.personality = SimPersonality::kLinux6_12;
  machine.iommu.hardware = SimIommuHardware::kSmmuV3;
  Boot(machine);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_CHECK_EXTENSION, kNesting), 1);
  EXPECT_EQ(container_->SetIommu(kNesting), -EPERM);
  EXPECT_EQ(container_->SetIommu(kType1v2), 0);
}

TEST_F(SimType1Test, InterruptsMustBeIsolated) {
  SimMachine machine = DefaultSimMachine(1);
  machine.iommu.interrupt_remapping = false;
  Boot(machine);
  EXPECT_EQ(container_->SetIommu(kType1v2), -EPERM);
}

TEST_F(SimType1Test, Linux7_2KnowsNestingNoMore) {
  Boot(SimPersonality::kLinux7_2);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_CHECK_EXTENSION, kNesting), 0);
  EXPECT_EQ(process_->Ioctl(container_->container(), uapi::VFIO_CHECK_EXTENSION, kType1v2), 1);
  EXPECT_EQ(container_->SetIommu(kNesting), -ENODEV);
  EXPECT_EQ(container_->SetIommu(kType1v2), 0);
  EXPECT_THAT(CapabilityIds(), ElementsAre(2, 3, 1));
  EXPECT_EQ(container_->Bind(TestBind()), -ENOTTY);
}

TEST_F(SimType1Test, RangeThatWrapsIsAnOverflowSinceLinux7_2) {
  constexpr uint64_t kLastPage = ~uint64_t{0} - kPage + 1;
  for (const auto& [personality, error] : {std::pair(SimPersonality::kLinux6_12, -EINVAL),
                                           std::pair(SimPersonality::kLinux7_2, -EOVERFLOW)}) {
    Boot(personality);
    ASSERT_EQ(container_->SetIommu(kType1v2), 0);
    EXPECT_EQ(container_->Map(kLastPage, 2 * kPage, Memory()), error);
    EXPECT_EQ(container_->Map(0, 2 * kPage, kLastPage), error);
    EXPECT_EQ(container_->Unmap(kLastPage, 2 * kPage), error);
  }
}

}  // namespace
}  // namespace nestor::kernel
