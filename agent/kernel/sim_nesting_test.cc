// VFIO_IOMMU_NESTING_OP: its checks in their order. Names that begin with B and U are the
// numbered vectors for bind and unbind; sim_nesting_review_test.cc has the rest.

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "agent/kernel/test_nesting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Bind.

TEST_F(SimNestingTest, B1GoodBindIsDone) {
  EXPECT_EQ(container_.Bind(TestBind()), 0);
  EXPECT_THAT(kernel_.Bindings(),
              ElementsAre(SimBinding{"0000:01:00.0", kPasid, Root(0x12345000)}));
}

TEST_F(SimNestingTest, B2PasidThatWasNeverAllocated) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.hpasid = 6; }), -ENOENT);
}

TEST_F(SimNestingTest, B3PasidOfAnotherProcess) {
  const auto other = kernel_.CreateProcess();
  TestContainer foreign = TestContainer::Nesting(*other, 2);
  ASSERT_EQ(foreign.Allocate(6), 6);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.hpasid = 6; }), -EACCES);
}

TEST_F(SimNestingTest, B4AndN1SecondBindFailsAndTakesTheFirstAway) {
  ASSERT_EQ(container_.Bind(TestBind()), 0);
  EXPECT_EQ(container_.Bind(TestBind()), -EBUSY);
  EXPECT_THAT(kernel_.Bindings(), IsEmpty());
  EXPECT_EQ(container_.Bind(TestBind()), 0);
}

TEST_F(SimNestingTest, B5WidthIs48Or57) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.addr_width = 40; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.addr_width = 57; }), 0);
}

TEST_F(SimNestingTest, B6BindNeedsTheVendorsPart) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.argsz = 56; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.argsz = 71; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.argsz = 55; }), -EINVAL);
}

TEST_F(SimNestingTest, LongerStructOfANewerCallerIsCut) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.argsz = 4096; }), 0);
}

TEST_F(SimNestingTest, B7UnknownVersion) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.version = 2; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.version = 0; }), -EINVAL);
}

TEST_F(SimNestingTest, UnknownFormatAndFlags) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.format = 0; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.format = 2; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.flags = 2; }), -EINVAL);
}

TEST_F(SimNestingTest, B8PaddingIsZero) {
  for (int byte = 0; byte < 8; ++byte) {
    EXPECT_EQ(BindWith([&](TestBind& bind) { bind.data.padding[byte] = 1; }), -EINVAL) << byte;
  }
}

TEST_F(SimNestingTest, B9MemoryTypesAndUnknownFlagsAreRefused) {
  for (int bit = 2; bit < 64; ++bit) {
    EXPECT_EQ(BindWith([&](TestBind& bind) { bind.data.vtd.flags = uint64_t{1} << bit; }), -EINVAL)
        << bit;
  }
}

TEST_F(SimNestingTest, B10UpperFlagsOfTheHeaderAreZero) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.header.flags |= 1 << 16; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.header.flags |= 1u << 31; }), -EINVAL);
}

TEST_F(SimNestingTest, B11AndA2UnknownOperationHasNoEffect) {
  ASSERT_EQ(container_.Bind(TestBind()), 0);
  for (const uint32_t operation : {3u, 4u, 0xffffu}) {
    EXPECT_EQ(BindWith([&](TestBind& bind) { bind.header.flags = operation; }), -EINVAL);
  }
  EXPECT_EQ(Bindings(), 1);
}

TEST_F(SimNestingTest, B12HeaderNeedsItsOwnSize) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.header.argsz = 7; }), -EINVAL);
}

TEST_F(SimNestingTest, B13LowBitsOfTheRootAreLost) {
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.gpgd = 0x12345678; }), 0);
  EXPECT_EQ(kernel_.Bindings().at(0).stage1.root, 0x12345000U);
}

TEST_F(SimNestingTest, B14ContainerOfAnotherTypeDoesNotNest) {
  TestContainer plain(*process_, 2);
  ASSERT_EQ(plain.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
  EXPECT_EQ(plain.Bind(TestBind()), -EOPNOTSUPP);
  EXPECT_EQ(plain.Unbind(kPasid), -EOPNOTSUPP);
  EXPECT_EQ(plain.Invalidate(TestInvalidate()), -EOPNOTSUPP);
  TestBind unknown;
  unknown.header.flags = 3;
  EXPECT_EQ(plain.Bind(unknown), -EINVAL);  // judged before the container is looked at
}

TEST_F(SimNestingTest, B16BindWithEveryFieldSet) {
  const TestRam high_ram(0x1abc00000);
  ASSERT_EQ(container_.Map(high_ram), 0);
  ASSERT_EQ(container_.Allocate(0xfffff), 0xfffff);
  EXPECT_EQ(BindWith([](TestBind& bind) {
              bind.data.addr_width = 57;
              bind.data.flags = uapi::IOMMU_SVA_GPASID_VAL;
              bind.data.gpgd = 0x1abcde000;
              bind.data.hpasid = 0xfffff;
              bind.data.gpasid = 0x21;
              bind.data.vtd.flags = 3;
            }),
            0);
  EXPECT_THAT(kernel_.Bindings(), ElementsAre(SimBinding{"0000:01:00.0",
                                                         0xfffff,
                                                         {.root = 0x1abcde000,
                                                          .address_width = 57,
                                                          .supervisor_request = true,
                                                          .extended_accessed_flag = true}}));
}

TEST_F(SimNestingTest, PasidZeroAndBeyond20BitsCannotBeBound) {
  ASSERT_EQ(container_.Allocate(0), 0);
  ASSERT_EQ(container_.Allocate(0x100000), 0x100000);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.hpasid = 0; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.hpasid = 0x100000; }), -EINVAL);
  EXPECT_EQ(BindWith([](TestBind& bind) { bind.data.hpasid = uint64_t{1} << 32 | 5; }), -EINVAL);
}

TEST_F(SimNestingTest, RootAboveAllMappedMemoryIsRefused) {
  EXPECT_EQ(BindWith([&](TestBind& bind) { bind.data.gpgd = 0x12701000; }), -EINVAL);
  EXPECT_EQ(BindWith([&](TestBind& bind) { bind.data.gpgd = 0x1000; }), 0);  // a hole below
}

TEST_F(SimNestingTest, BindBeforeAnyMappingIsRefused) {
  TestContainer empty = TestContainer::Nesting(*process_, 2);
  EXPECT_EQ(empty.Bind(TestBind()), -EINVAL);
}

TEST_F(SimNestingTest, UnreadableArgumentsFault) {
  // The last of two pages is missing: the struct ends where it is put.
  const uint64_t pages = reinterpret_cast<uint64_t>(
      mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(reinterpret_cast<void*>(pages + 4096), 4096);
  const TestBind bind;
  const auto bind_cut_to = [&](size_t size) {
    const uint64_t address = pages + 4096 - size;
    std::memcpy(reinterpret_cast<void*>(address), &bind, size);
    return process_->Ioctl(container_.container(), uapi::VFIO_IOMMU_NESTING_OP, address);
  };
  EXPECT_EQ(bind_cut_to(7), -EFAULT);
  EXPECT_EQ(bind_cut_to(8 + 55), -EFAULT);
  EXPECT_EQ(bind_cut_to(8 + 71), -EFAULT);
  EXPECT_EQ(bind_cut_to(8 + 72), 0);
  munmap(reinterpret_cast<void*>(pages), 4096);
}

// Machines that lack something.

class SimNestingMachineTest : public ::testing::Test {
 protected:
  // What a bind answers on a machine that `change` was made to.
  int BindOn(
      const std::function<void(SimMachine&)>& change,
      const std::function<void(TestBind&)>& change_bind = [](TestBind&) {}) {
    SimMachine machine = DefaultSimMachine(1);
    change(machine);
    SimKernel kernel(machine);
    const auto process = kernel.CreateProcess();
    TestContainer container = TestContainer::Nesting(*process);
    const TestRam ram(0x12300000);
    EXPECT_EQ(container.Map(ram), 0);
    container.Allocate(kPasid);
    TestBind bind;
    change_bind(bind);
    return container.Bind(bind);
  }
  static void FiveLevels(TestBind& bind) { bind.data.addr_width = 57; }
};

TEST_F(SimNestingMachineTest, B15AndA10BindNeedsSystemWidePasids) {
  EXPECT_EQ(BindOn([](SimMachine& machine) {
              machine.iommu.nesting_features &= ~uapi::IOMMU_NESTING_FEAT_SYSWIDE_PASID;
            }),
            -EINVAL);
}

TEST_F(SimNestingMachineTest, BindMustBeOffered) {
  EXPECT_EQ(BindOn([](SimMachine& machine) {
              machine.iommu.nesting_features &= ~uapi::IOMMU_NESTING_FEAT_BIND_PGTBL;
            }),
            -EOPNOTSUPP);
}

TEST_F(SimNestingMachineTest, DeviceNeeds20BitPasids) {
  EXPECT_EQ(BindOn([](SimMachine& machine) { machine.devices[0].pasid_bits = 0; }), -EINVAL);
  EXPECT_EQ(BindOn([](SimMachine& machine) { machine.devices[0].pasid_bits = 16; }), -EINVAL);
}

TEST_F(SimNestingMachineTest, FiveLevelsNeedProcessorAndIommu) {
  EXPECT_EQ(BindOn([](SimMachine&) {}, FiveLevels), 0);
  EXPECT_EQ(BindOn([](SimMachine& machine) { machine.iommu.cpu_5_levels = false; }, FiveLevels),
            -EINVAL);
  EXPECT_EQ(
      BindOn([](SimMachine& machine) { machine.iommu.first_level_5_levels = false; }, FiveLevels),
      -EINVAL);
}

TEST_F(SimNestingMachineTest, SupervisorRequestsAndAccessedFlagNeedTheHardware) {
  const auto supervisor = [](TestBind& bind) { bind.data.vtd.flags = 1; };
  const auto accessed = [](TestBind& bind) { bind.data.vtd.flags = 2; };
  EXPECT_EQ(
      BindOn([](SimMachine& machine) { machine.iommu.supervisor_requests = false; }, supervisor),
      -EINVAL);
  EXPECT_EQ(
      BindOn([](SimMachine& machine) { machine.iommu.extended_accessed_flag = false; }, accessed),
      -EINVAL);
}

// Unbind.

TEST_F(SimNestingTest, U1UnbindInShortAndFullFormKeepsThePasid) {
  ASSERT_EQ(container_.Bind(TestBind()), 0);
  EXPECT_EQ(container_.Unbind(kPasid), 0);
  EXPECT_EQ(Bindings(), 0);
  ASSERT_EQ(container_.Bind(TestBind()), 0);
  EXPECT_EQ(UnbindWith([](TestBind& unbind) { unbind.data.argsz = 56; }), 0);
  EXPECT_EQ(Bindings(), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 1);
}

TEST_F(SimNestingTest, U2UnbindOfNothingSucceeds) {
  EXPECT_EQ(container_.Unbind(kPasid), 0);
  EXPECT_EQ(container_.Unbind(6), 0);
  EXPECT_EQ(container_.Unbind(0), 0);
}

TEST_F(SimNestingTest, U3MalformedUnbindSucceedsAndUnbindsNothing) {
  ASSERT_EQ(container_.Bind(TestBind()), 0);
  EXPECT_EQ(UnbindWith([](TestBind& unbind) { unbind.data.version = 2; }), 0);
  EXPECT_EQ(UnbindWith([](TestBind& unbind) { unbind.data.argsz = 55; }), 0);
  EXPECT_EQ(UnbindWith([](TestBind& unbind) { unbind.data.format = 2; }), 0);
  EXPECT_EQ(UnbindWith([](TestBind& unbind) { unbind.data.padding[0] = 1; }), 0);
  EXPECT_EQ(Bindings(), 1);
}

TEST_F(SimNestingTest, U4FreeUnbindsFirst) {
  ASSERT_EQ(container_.Bind(TestBind()), 0);
  EXPECT_EQ(container_.Free(kPasid), 0);
  EXPECT_EQ(Bindings(), 0);
  EXPECT_EQ(kernel_.Statistics().pasids, 0);
}

TEST_F(SimNestingTest, UnbindOfAForeignPasidSucceedsAndUnbindsNothing) {
  const auto other = kernel_.CreateProcess();
  TestContainer foreign = TestContainer::Nesting(*other, 2);
  const TestRam ram(0x12300000);
  ASSERT_EQ(foreign.Map(ram), 0);
  ASSERT_EQ(foreign.Allocate(6), 6);
  ASSERT_EQ(foreign.Bind(6, 0x12345000), 0);
  EXPECT_EQ(container_.Unbind(6), 0);
  EXPECT_EQ(Bindings(), 1);
}

TEST_F(SimNestingTest, HeaderChecksAreTheSameForEveryOperation) {
  for (const uint32_t operation : {0u, 1u, 2u}) {
    TestBind request;
    request.header = {.argsz = 7, .flags = operation};
    EXPECT_EQ(container_.Bind(request), -EINVAL);
    request.header = {.argsz = 80, .flags = operation | 1 << 16};
    EXPECT_EQ(container_.Bind(request), -EINVAL);
  }
}

// Invalidation answers 0 to anything that has a good header.
TEST_F(SimNestingTest, MalformedInvalidationsSucceed) {
  const auto invalidate_with = [&](const std::function<void(TestInvalidate&)>& change) {
    TestInvalidate request;
    change(request);
    return container_.Invalidate(request);
  };
  EXPECT_EQ(invalidate_with([](auto& request) { request.info.argsz = 15; }), 0);
  EXPECT_EQ(invalidate_with([](auto& request) { request.info.version = 9; }), 0);
  EXPECT_EQ(invalidate_with([](auto& request) { request.info.cache = 8; }), 0);
  EXPECT_EQ(invalidate_with([](auto& request) { request.info.granularity = 3; }), 0);
  EXPECT_EQ(invalidate_with([](auto& request) { request.info.granu.pasid_info.pasid = 99; }), 0);
}

}  // namespace
}  // namespace nestor::kernel
