// What the type1 backend sends, byte by byte, and how it meets the kernel's habits.
#include "agent/vfio/type1_backend.h"

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/test_machine.h"
#include "agent/vfio/test_syscalls.h"
#include "agent/vfio/vfio_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::Pair;
using ::testing::SizeIs;

using Bytes = std::vector<uint8_t>;
using Call = TestSyscalls::Call;

Bytes FromHex(absl::string_view hex) {
  const std::string raw = absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}, {"\n", ""}}));
  return {raw.begin(), raw.end()};
}

constexpr PageTable kTable{.root = 0x12345000};
constexpr PageTable kOtherTable{.root = 0x20000};

// What binding kTable to PASID 5 sends, or unbinding with `operation` 1.
Bytes BindBytes(uint8_t operation) {
  Bytes bytes = FromHex(R"(
      50 00 00 00 00 00 00 00 48 00 00 00 01 00 00 00
      01 00 00 00 30 00 00 00 00 00 00 00 00 00 00 00
      00 50 34 12 00 00 00 00 05 00 00 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)");
  bytes[4] = operation;
  return bytes;
}

bool IsNestingOp(const Call& call, uint8_t operation) {
  return call.request == uapi::VFIO_IOMMU_NESTING_OP && call.argument.size() > 4 &&
         call.argument[4] == operation;
}
bool IsBind(const Call& call) { return IsNestingOp(call, 0); }
bool IsUnbind(const Call& call) { return IsNestingOp(call, 1); }

// Answers the calls that `matches` and lets the others pass.
TestSyscalls::Interference Only(bool (*matches)(const Call&), TestSyscalls::Outcome outcome) {
  return [=](const Call& call) { return matches(call) ? outcome : TestSyscalls::Pass(); };
}

class Type1BackendTest : public testing::Test {
 protected:
  Type1BackendTest()
      : device_(machine_.devices().at(0)), space_(*machine_.backend().CreateAddressSpace()) {}

  // A device with memory and PASID 5.
  void PrepareToBind() {
    ASSERT_TRUE(space_->Attach(device_).ok());
    ASSERT_TRUE(space_->Map(device_, machine_.memory()).ok());
    ASSERT_TRUE(space_->AllocatePasid(5).ok());
    syscalls().Start();
  }
  void PrepareBound() {
    PrepareToBind();
    ASSERT_TRUE(space_->Bind(key(), kTable).ok());
    syscalls().Start();
  }
  BindingKey key() const { return {device_, 5}; }
  TestSyscalls& syscalls() { return machine_.syscalls(); }

  SimTestMachine machine_;
  const Bdf device_;
  std::unique_ptr<AddressSpace> space_;
};

// Bytes

TEST_F(Type1BackendTest, AllocationAsksForExactlyThatPasid) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  syscalls().Start();
  ASSERT_TRUE(space_->AllocatePasid(0xfffff).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_PASID_REQUEST),
              ElementsAre(FromHex("10 00 00 00 01 00 00 00 ff ff 0f 00 ff ff 0f 00")));
}

TEST_F(Type1BackendTest, FreeNamesExactlyThatPasid) {
  PrepareToBind();
  ASSERT_TRUE(space_->FreePasid(5).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_PASID_REQUEST),
              ElementsAre(FromHex("10 00 00 00 02 00 00 00 05 00 00 00 05 00 00 00")));
}

TEST_F(Type1BackendTest, BindSendsTheTable) {
  PrepareToBind();
  ASSERT_TRUE(space_->Bind(key(), kTable).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), ElementsAre(BindBytes(0)));
}

TEST_F(Type1BackendTest, FiveLevelBindSendsWidthAndFlags) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  MemoryRegion memory = machine_.memory();
  memory.guest_address = 0x1abcd0000;
  ASSERT_TRUE(space_->Map(device_, memory).ok());
  ASSERT_TRUE(space_->AllocatePasid(0xfffff).ok());
  syscalls().Start();
  ASSERT_TRUE(space_
                  ->Bind({device_, 0xfffff}, {.root = 0x1abcde000,
                                              .address_width = 57,
                                              .supervisor_request = true,
                                              .extended_access_flag = true})
                  .ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), ElementsAre(FromHex(R"(
      50 00 00 00 00 00 00 00 48 00 00 00 01 00 00 00
      01 00 00 00 39 00 00 00 00 00 00 00 00 00 00 00
      00 e0 cd ab 01 00 00 00 ff ff 0f 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)")));
}

TEST_F(Type1BackendTest, UnbindSendsTheFullFormOfWhatWasBound) {
  PrepareBound();
  ASSERT_TRUE(space_->Unbind(key()).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), ElementsAre(BindBytes(1)));
}

TEST_F(Type1BackendTest, InvalidationOfAPasidIsForTheIotlbAlone) {
  PrepareBound();
  ASSERT_TRUE(space_->Invalidate(key(), 0, 0).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), ElementsAre(FromHex(R"(
      40 00 00 00 02 00 00 00 38 00 00 00 01 00 00 00
      01 01 00 00 00 00 00 00 01 00 00 00 00 00 00 00
      05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)")));
}

// Not LEAF: directories may have changed too.
TEST_F(Type1BackendTest, InvalidationOfARangeIsForBothCaches) {
  PrepareBound();
  ASSERT_TRUE(space_->Invalidate(key(), 0x7f00'0020'0000, 0x20'0000).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), ElementsAre(FromHex(R"(
      40 00 00 00 02 00 00 00 38 00 00 00 01 00 00 00
      03 02 00 00 00 00 00 00 01 00 00 00 00 00 00 00
      05 00 00 00 00 00 00 00 00 00 20 00 00 7f 00 00
      00 10 00 00 00 00 00 00 00 02 00 00 00 00 00 00)")));
}

struct RangeRow {
  uint64_t address;
  uint64_t size;
  uint64_t sent_address;
  uint64_t sent_pages;
};

TEST_F(Type1BackendTest, InvalidatedBlockContainsTheRange) {
  PrepareBound();
  for (const RangeRow& row :
       {RangeRow{0x5000, 0x1000, 0x5000, 1}, RangeRow{0x5fff, 1, 0x5000, 1},
        RangeRow{0x4000, 0x2000, 0x4000, 2}, RangeRow{0x5000, 0x2000, 0x4000, 4},  // crosses 0x6000
        RangeRow{0x7fff, 2, 0x0, 16}}) {                                           // crosses 0x8000
    syscalls().Start();
    ASSERT_TRUE(space_->Invalidate(key(), row.address, row.size).ok());
    const Bytes sent = syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP).at(0);
    uapi::iommu_cache_invalidate_info info;
    ASSERT_THAT(sent, SizeIs(8 + sizeof(info)));
    std::memcpy(&info, sent.data() + 8, sizeof(info));
    EXPECT_THAT(info.granu.addr_info.addr, Eq(row.sent_address));
    EXPECT_THAT(info.granu.addr_info.nb_granules, Eq(row.sent_pages));
  }
}

TEST_F(Type1BackendTest, RangeBeyondOneBlockDropsTheWholePasid) {
  PrepareBound();
  ASSERT_TRUE(space_->Invalidate(key(), 0x1f'f000, 0x2000).ok());
  const Bytes sent = syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP).at(0);
  EXPECT_THAT(sent.at(17), Eq(uapi::IOMMU_INV_GRANU_PASID));
}

// PASIDs

TEST_F(Type1BackendTest, PasidOfAnotherProcessIsTaken) {
  const std::unique_ptr<TestProcess> other = machine_.NewProcess();
  const std::unique_ptr<AddressSpace> holder = *other->backend().CreateAddressSpace();
  ASSERT_TRUE(holder->Attach(machine_.devices().at(1)).ok());
  ASSERT_TRUE(holder->AllocatePasid(5).ok());
  ASSERT_TRUE(space_->Attach(device_).ok());
  const absl::Status status = space_->AllocatePasid(5);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(GetReason(status), Eq("PASID_TAKEN_ON_HOST"));
  EXPECT_THAT(space_->state().pasids, IsEmpty());
  ASSERT_TRUE(holder->FreePasid(5).ok());
  EXPECT_TRUE(space_->AllocatePasid(5).ok());
}

// The set belongs to the process: a failed allocation must not free a neighbour's PASID.
TEST_F(Type1BackendTest, PasidOfANeighbourInTheSameProcessIsTakenAndStays) {
  const std::unique_ptr<AddressSpace> neighbour = *machine_.backend().CreateAddressSpace();
  ASSERT_TRUE(neighbour->Attach(machine_.devices().at(1)).ok());
  ASSERT_TRUE(neighbour->AllocatePasid(5).ok());
  ASSERT_TRUE(space_->Attach(device_).ok());
  EXPECT_THAT(GetReason(space_->AllocatePasid(5)), Eq("PASID_TAKEN_ON_HOST"));
  space_.reset();
  EXPECT_THAT(machine_.Held().pasids, Eq(1));
}

TEST_F(Type1BackendTest, LastDetachFreesPasidsThatANeighbourWouldKeepAlive) {
  const std::unique_ptr<AddressSpace> neighbour = *machine_.backend().CreateAddressSpace();
  ASSERT_TRUE(neighbour->Attach(machine_.devices().at(1)).ok());
  PrepareToBind();
  ASSERT_TRUE(space_->Detach(device_).ok());
  EXPECT_THAT(machine_.Held().pasids, Eq(0));
}

TEST_F(Type1BackendTest, OtherPasidThanAskedForIsFreedAndReported) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  syscalls().Start([](const Call& call) {
    const bool is_allocation = call.request == uapi::VFIO_IOMMU_PASID_REQUEST && call.number == 1;
    return is_allocation ? TestSyscalls::Outcome{.answer = 9, .is_made = false}
                         : TestSyscalls::Pass();
  });
  const absl::Status status = space_->AllocatePasid(5);
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(space_->state().pasids, IsEmpty());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_PASID_REQUEST).at(1),
              Eq(FromHex("10 00 00 00 02 00 00 00 09 00 00 00 09 00 00 00")));
}

// Bindings

TEST_F(Type1BackendTest, SecondBindMakesNoCall) {
  PrepareBound();
  EXPECT_THAT(GetReason(space_->Bind(key(), kOtherTable)), Eq("PASID_CONFLICT"));
  EXPECT_THAT(syscalls().calls(), IsEmpty());
}

TEST_F(Type1BackendTest, InvalidBindMakesNoCall) {
  PrepareToBind();
  EXPECT_THAT(GetReason(space_->Bind(key(), {.root = 0x12345678})), Eq("FIELD_INVALID"));
  EXPECT_THAT(GetReason(space_->Bind({device_, 0}, kTable)), Eq("UNSUPPORTED"));
  EXPECT_THAT(GetReason(space_->Bind({device_, 6}, kTable)), Eq("PASID_NOT_ALLOCATED"));
  EXPECT_THAT(syscalls().calls(), IsEmpty());
}

TEST_F(Type1BackendTest, FailedBindNamesTheCallAndItsObject) {
  PrepareToBind();
  syscalls().Start(Only(IsBind, TestSyscalls::Fail(ENOMEM)));
  EXPECT_THAT(GetKernelError(space_->Bind(key(), kTable)),
              Optional(KernelError{"VFIO_IOMMU_NESTING_OP(BIND_PGTBL)",
                                   device_ + " pasid 5 root 0x12345000", ENOMEM}));
}

TEST_F(Type1BackendTest, FailedBindIsFollowedByAnUnbindAndNoSecondBind) {
  PrepareToBind();
  syscalls().Start(Only(IsBind, TestSyscalls::Fail(EINTR)));
  EXPECT_TRUE(absl::IsAborted(space_->Bind(key(), kTable)));
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP),
              ElementsAre(BindBytes(0), BindBytes(1)));
}

TEST_F(Type1BackendTest, BindWhoseAnswerIsLostIsUndone) {
  PrepareToBind();
  syscalls().Start(Only(IsBind, TestSyscalls::LoseAnswer(EINTR)));
  EXPECT_FALSE(space_->Bind(key(), kTable).ok());
  EXPECT_THAT(space_->state().bindings, IsEmpty());
  EXPECT_THAT(machine_.Held().roots, IsEmpty());
}

TEST_F(Type1BackendTest, ReplaceThatCannotGoBackIsDataLossAndUnbound) {
  PrepareBound();
  syscalls().Start(Only(IsBind, TestSyscalls::Fail(ENOMEM)));
  const absl::Status status = space_->Replace(key(), kOtherTable);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(GetKernelError(status),
              Optional(KernelError{"VFIO_IOMMU_NESTING_OP(BIND_PGTBL)",
                                   device_ + " pasid 5 root 0x20000", ENOMEM}));
  EXPECT_THAT(std::string(status.message()), HasSubstr("root 0x12345000"));
  EXPECT_THAT(space_->state().bindings, IsEmpty());
  EXPECT_THAT(machine_.Held().roots, IsEmpty());
}

TEST_F(Type1BackendTest, ReplaceWhoseUnbindFailsBindsNothing) {
  PrepareBound();
  syscalls().Start(Only(IsUnbind, TestSyscalls::Fail(EIO)));
  EXPECT_FALSE(space_->Replace(key(), kOtherTable).ok());
  EXPECT_THAT(syscalls().Arguments(uapi::VFIO_IOMMU_NESTING_OP), ElementsAre(BindBytes(1)));
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kTable)));
}

TEST_F(Type1BackendTest, UnmapThatFoundLessIsReportedAndTheRegionIsGone) {
  PrepareToBind();
  syscalls().Start([](const Call& call) {
    if (call.request != uapi::VFIO_IOMMU_UNMAP_DMA) return TestSyscalls::Pass();
    TestSyscalls::ArgumentOf<uapi::vfio_iommu_type1_dma_unmap>(call).size = 0;
    return TestSyscalls::Outcome{.answer = 0, .is_made = false};
  });
  EXPECT_TRUE(absl::IsInternal(space_->Unmap(device_, machine_.memory())));
  EXPECT_THAT(space_->state().memory, IsEmpty());
}

// Signals

TEST_F(Type1BackendTest, InterruptedCallsThatOnlyAskAreRepeated) {
  syscalls().Start([](const Call& call) {
    const bool asks =
        call.request == uapi::VFIO_GET_API_VERSION || call.request == uapi::VFIO_CHECK_EXTENSION ||
        call.request == uapi::VFIO_GROUP_GET_STATUS || call.request == uapi::VFIO_IOMMU_GET_INFO;
    return asks && call.number % 2 == 1 ? TestSyscalls::Fail(EINTR) : TestSyscalls::Pass();
  });
  EXPECT_TRUE(space_->Attach(device_).ok());
}

TEST_F(Type1BackendTest, InterruptedUnbindInvalidateAndFreeAreRepeated) {
  PrepareBound();
  const auto first_is_interrupted = [](const Call& call) {
    return call.number == 1 ? TestSyscalls::Fail(EINTR) : TestSyscalls::Pass();
  };
  syscalls().Start(first_is_interrupted);
  EXPECT_TRUE(space_->Invalidate(key(), 0, 0).ok());
  syscalls().Start(first_is_interrupted);
  EXPECT_TRUE(space_->Unbind(key()).ok());
  syscalls().Start(first_is_interrupted);
  EXPECT_TRUE(space_->FreePasid(5).ok());
  EXPECT_THAT(machine_.Held().pasids, Eq(0));
}

TEST_F(Type1BackendTest, CallThatIsAlwaysInterruptedEnds) {
  PrepareBound();
  syscalls().Start(Only(IsUnbind, TestSyscalls::Fail(EINTR)));
  EXPECT_TRUE(absl::IsAborted(space_->Unbind(key())));
  EXPECT_THAT(syscalls().calls(), SizeIs(VfioFile::kMaxAttempts));
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kTable)));
}

TEST_F(Type1BackendTest, InterruptedAllocationIsNotRepeated) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  syscalls().Start([](const Call&) { return TestSyscalls::Fail(EINTR); });
  EXPECT_TRUE(absl::IsAborted(space_->AllocatePasid(5)));
  EXPECT_THAT(syscalls().calls(), SizeIs(1));
}

}  // namespace
}  // namespace nestor::agent
