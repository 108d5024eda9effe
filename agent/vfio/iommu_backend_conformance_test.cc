// What every implementation of the IOMMU port promises, tried on each of them.
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "agent/core/kernel_error.h"
#include "agent/vfio/iommu_backend.h"
#include "agent/vfio/test_machine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::Pair;

struct Implementation {
  const char* name;
  std::function<std::unique_ptr<TestMachine>()> make_machine;
};
void PrintTo(const Implementation& row, std::ostream* out) { *out << row.name; }
std::string NameOf(const testing::TestParamInfo<Implementation>& row) { return row.param.name; }

// In the machine's memory.
constexpr PageTable kTable{.root = 0x1234'1000};
constexpr PageTable kOtherTable{.root = 0x1234'2000};

class IommuBackendConformance : public testing::TestWithParam<Implementation> {
 protected:
  IommuBackendConformance()
      : machine_(GetParam().make_machine()),
        device_(machine_->devices().at(0)),
        other_device_(machine_->devices().at(1)),
        space_(NewSpace()) {}

  std::unique_ptr<AddressSpace> NewSpace() { return *machine_->backend().CreateAddressSpace(); }
  HeldByKernel Held() const { return machine_->Held(); }

  // A device with memory and PASID 5, ready to be bound.
  void PrepareToBind() {
    ASSERT_TRUE(space_->Attach(device_).ok());
    ASSERT_TRUE(space_->Map(device_, machine_->memory()).ok());
    ASSERT_TRUE(space_->AllocatePasid(5).ok());
  }
  void PrepareBound() {
    PrepareToBind();
    ASSERT_TRUE(space_->Bind({device_, 5}, kTable).ok());
  }
  BindingKey key() const { return {device_, 5}; }

  std::unique_ptr<TestMachine> machine_;
  const Bdf device_;
  const Bdf other_device_;
  std::unique_ptr<AddressSpace> space_;
};

void ExpectCode(const absl::Status& status, absl::StatusCode code) {
  EXPECT_THAT(status.code(), Eq(code)) << status;
}

// Devices

TEST_P(IommuBackendConformance, ProbeOfUsableDeviceHasCapabilitiesAndLeavesNothingOpen) {
  const absl::StatusOr<DeviceCapabilities> capabilities = machine_->backend().Probe(device_);
  ASSERT_TRUE(capabilities.ok()) << capabilities.status();
  EXPECT_THAT(capabilities->granularity, Eq(NestGranularity::kPasid));
  EXPECT_THAT(capabilities->pasid_bits, Eq(20U));
  EXPECT_THAT(capabilities->address_width, Eq(48U));
  EXPECT_THAT(capabilities->reason, IsEmpty());
  EXPECT_THAT(Held(), Eq(HeldByKernel{}));
}

TEST_P(IommuBackendConformance, ProbeOfAttachedDeviceAnswersTheSame) {
  const DeviceCapabilities before = *machine_->backend().Probe(device_);
  ASSERT_TRUE(space_->Attach(device_).ok());
  EXPECT_THAT(*machine_->backend().Probe(device_), Eq(before));
  ASSERT_TRUE(space_->Detach(device_).ok());
  EXPECT_THAT(*machine_->backend().Probe(device_), Eq(before));
}

TEST_P(IommuBackendConformance, DeviceIsAttachedOnce) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  ExpectCode(space_->Attach(device_), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(space_->state().devices, ElementsAre(device_));
  EXPECT_THAT(Held().devices, Eq(1));
}

TEST_P(IommuBackendConformance, DeviceOfAnotherAddressSpaceIsBusyUntilDetached) {
  const std::unique_ptr<AddressSpace> owner = NewSpace();
  ASSERT_TRUE(owner->Attach(device_).ok());
  const absl::Status status = space_->Attach(device_);
  ExpectCode(status, absl::StatusCode::kUnavailable);
  EXPECT_THAT(GetReason(status), Eq("GROUP_BUSY"));
  EXPECT_THAT(space_->state(), Eq(AddressSpaceState{}));
  ASSERT_TRUE(owner->Detach(device_).ok());
  EXPECT_TRUE(space_->Attach(device_).ok());
}

TEST_P(IommuBackendConformance, UnknownDeviceIsNotFound) {
  const absl::Status status = space_->Attach("0000:ff:1f.7");
  ExpectCode(status, absl::StatusCode::kNotFound);
  EXPECT_THAT(GetReason(status), Eq("NO_DEVICE"));
}

TEST_P(IommuBackendConformance, DetachGivesEverythingBack) {
  PrepareToBind();
  ASSERT_TRUE(space_->Detach(device_).ok());
  EXPECT_THAT(space_->state(), Eq(AddressSpaceState{}));
  EXPECT_THAT(Held(), Eq(HeldByKernel{}));
}

TEST_P(IommuBackendConformance, DetachOfOneDeviceKeepsTheOther) {
  PrepareBound();
  ASSERT_TRUE(space_->Attach(other_device_).ok());
  ASSERT_TRUE(space_->Detach(other_device_).ok());
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kTable)));
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, DetachUnderBindingsIsRefused) {
  PrepareBound();
  ExpectCode(space_->Detach(device_), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, DetachOfUnattachedDeviceIsNotFound) {
  ExpectCode(space_->Detach(device_), absl::StatusCode::kNotFound);
}

TEST_P(IommuBackendConformance, DestructionGivesEverythingBack) {
  PrepareBound();
  ASSERT_TRUE(space_->Attach(other_device_).ok());
  ASSERT_TRUE(space_->Map(other_device_, machine_->memory()).ok());
  ASSERT_TRUE(space_->Bind({other_device_, 5}, kTable).ok());
  space_.reset();
  EXPECT_THAT(Held(), Eq(HeldByKernel{}));
  EXPECT_TRUE(NewSpace()->Attach(device_).ok());
}

TEST_P(IommuBackendConformance, DestructionOfOneAddressSpaceKeepsAnother) {
  PrepareBound();
  {
    const std::unique_ptr<AddressSpace> neighbour = NewSpace();
    ASSERT_TRUE(neighbour->Attach(other_device_).ok());
    ASSERT_TRUE(neighbour->Map(other_device_, machine_->memory()).ok());
    ASSERT_TRUE(neighbour->AllocatePasid(6).ok());
    ASSERT_TRUE(neighbour->Bind({other_device_, 6}, kTable).ok());
  }
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
  EXPECT_THAT(Held().devices, Eq(1));
}

TEST_P(IommuBackendConformance, EveryCallOnUnattachedDeviceIsRefused) {
  uint32_t word = 0;
  for (const absl::Status& status :
       {space_->Map(device_, machine_->memory()), space_->Unmap(device_, machine_->memory()),
        space_->Bind(key(), kTable), space_->Replace(key(), kTable), space_->Unbind(key()),
        space_->Invalidate(key(), 0, 0), space_->Reset(device_),
        space_->RegionSize(device_, 0).status(),
        space_->ReadRegion(device_, 0, 0, &word, sizeof(word)).status(),
        space_->WriteRegion(device_, 0, 0, &word, sizeof(word)).status()}) {
    ExpectCode(status, absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(GetReason(status), Eq("DEVICE_NOT_ATTACHED"));
  }
}

// Memory

TEST_P(IommuBackendConformance, MappedRegionIsInTheStateUntilUnmapped) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  const MemoryRegion region = machine_->memory();
  ASSERT_TRUE(space_->Map(device_, region).ok());
  EXPECT_THAT(space_->state().memory, ElementsAre(Pair(device_, ElementsAre(region))));
  EXPECT_THAT(Held().mappings, Eq(1));
  ASSERT_TRUE(space_->Unmap(device_, region).ok());
  EXPECT_THAT(space_->state().memory, IsEmpty());
  EXPECT_THAT(Held().mappings, Eq(0));
}

TEST_P(IommuBackendConformance, OverlappingRegionIsRefused) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  ASSERT_TRUE(space_->Map(device_, machine_->memory()).ok());
  MemoryRegion overlapping = machine_->memory();
  overlapping.guest_address += overlapping.size / 2;
  ExpectCode(space_->Map(device_, overlapping), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(space_->state().memory, ElementsAre(Pair(device_, ElementsAre(machine_->memory()))));
}

TEST_P(IommuBackendConformance, MisalignedRegionIsRefused) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  MemoryRegion misaligned = machine_->memory();
  misaligned.guest_address += 1;
  ExpectCode(space_->Map(device_, misaligned), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(space_->state().memory, IsEmpty());
}

TEST_P(IommuBackendConformance, OnlyTheExactRegionIsUnmapped) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  ASSERT_TRUE(space_->Map(device_, machine_->memory()).ok());
  MemoryRegion half = machine_->memory();
  half.size /= 2;
  ExpectCode(space_->Unmap(device_, half), absl::StatusCode::kNotFound);
  EXPECT_THAT(Held().mappings, Eq(1));
}

TEST_P(IommuBackendConformance, MemoryChangesUnderABinding) {
  PrepareBound();
  ASSERT_TRUE(space_->Unmap(device_, machine_->memory()).ok());
  ASSERT_TRUE(space_->Map(device_, machine_->memory()).ok());
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

// PASIDs

TEST_P(IommuBackendConformance, PasidIsInTheStateUntilFreed) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  ASSERT_TRUE(space_->AllocatePasid(7).ok());
  EXPECT_THAT(space_->state().pasids, ElementsAre(7U));
  ASSERT_TRUE(space_->FreePasid(7).ok());
  EXPECT_THAT(space_->state().pasids, IsEmpty());
  EXPECT_THAT(Held().pasids, Eq(0));
  EXPECT_TRUE(space_->AllocatePasid(7).ok());
}

TEST_P(IommuBackendConformance, SecondAllocationIsRefused) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  ASSERT_TRUE(space_->AllocatePasid(7).ok());
  ExpectCode(space_->AllocatePasid(7), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(space_->state().pasids, ElementsAre(7U));
}

TEST_P(IommuBackendConformance, PasidOutOfRangeIsRefused) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  ExpectCode(space_->AllocatePasid(0), absl::StatusCode::kInvalidArgument);
  ExpectCode(space_->AllocatePasid(1U << 20), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(space_->AllocatePasid(1).ok());
  EXPECT_TRUE(space_->AllocatePasid((1U << 20) - 1).ok());
}

TEST_P(IommuBackendConformance, AllocationNeedsADeviceAndFreeAnAllocation) {
  ExpectCode(space_->AllocatePasid(7), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(space_->Attach(device_).ok());
  ExpectCode(space_->FreePasid(7), absl::StatusCode::kNotFound);
}

TEST_P(IommuBackendConformance, BoundPasidIsNotFreed) {
  PrepareBound();
  ExpectCode(space_->FreePasid(5), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

// Bindings

TEST_P(IommuBackendConformance, BindMakesTheDeviceWalkTheTable) {
  PrepareToBind();
  ASSERT_TRUE(space_->Bind(key(), kTable).ok());
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kTable)));
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, OnePasidIsBoundOnTwoDevices) {
  PrepareBound();
  ASSERT_TRUE(space_->Attach(other_device_).ok());
  ASSERT_TRUE(space_->Map(other_device_, machine_->memory()).ok());
  const BindingKey other_key{other_device_, 5};
  ASSERT_TRUE(space_->Bind(other_key, kOtherTable).ok());
  ASSERT_TRUE(space_->Unbind(key()).ok());
  EXPECT_THAT(Held().roots, ElementsAre(Pair(other_key, kOtherTable.root)));
}

TEST_P(IommuBackendConformance, SecondBindIsRefusedAndTheFirstStays) {
  PrepareBound();
  ExpectCode(space_->Bind(key(), kOtherTable), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kTable)));
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, WrongTableIsRefusedBeforeTheKernelIsAsked) {
  PrepareBound();
  for (const PageTable& table :
       {PageTable{.root = 0x10001}, PageTable{.root = uint64_t{1} << 48},
        PageTable{.address_width = 40}, PageTable{.format = PageTableFormat::kUnspecified}}) {
    const absl::Status status = space_->Replace(key(), table);
    ExpectCode(status, absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(GetKernelError(status), Eq(std::nullopt));
  }
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, PasidOfAnotherAddressSpaceIsNotBound) {
  PrepareBound();
  const auto neighbour = NewSpace();
  ASSERT_TRUE(neighbour->Attach(other_device_).ok());
  ASSERT_TRUE(neighbour->Map(other_device_, machine_->memory()).ok());
  ExpectCode(neighbour->Bind({other_device_, 5}, kTable), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, ReplaceChangesTheRoot) {
  PrepareBound();
  ASSERT_TRUE(space_->Replace(key(), kOtherTable).ok());
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kOtherTable)));
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kOtherTable.root)));
}

// type1: by the kernel; iommufd: by the backend, since the kernel would take it.
TEST_P(IommuBackendConformance, ReplaceByARootOutsideMemoryKeepsTheOldRoot) {
  PrepareBound();
  const PageTable beyond{.root = uint64_t{1} << 40};
  const absl::Status status = space_->Replace(key(), beyond);
  ExpectCode(status, absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(space_->state().bindings, ElementsAre(Pair(key(), kTable)));
  EXPECT_THAT(Held().roots, ElementsAre(Pair(key(), kTable.root)));
}

TEST_P(IommuBackendConformance, UnbindKeepsThePasid) {
  PrepareBound();
  ASSERT_TRUE(space_->Unbind(key()).ok());
  EXPECT_THAT(space_->state().bindings, IsEmpty());
  EXPECT_THAT(space_->state().pasids, ElementsAre(5U));
  EXPECT_THAT(Held().roots, IsEmpty());
  EXPECT_TRUE(space_->Bind(key(), kOtherTable).ok());
}

TEST_P(IommuBackendConformance, ReplaceAndUnbindOfNothingAreNotFound) {
  PrepareToBind();
  ExpectCode(space_->Replace(key(), kTable), absl::StatusCode::kNotFound);
  ExpectCode(space_->Unbind(key()), absl::StatusCode::kNotFound);
}

TEST_P(IommuBackendConformance, InvalidateNeedsABindingAndARangeThatExists) {
  PrepareToBind();
  ExpectCode(space_->Invalidate(key(), 0, 0), absl::StatusCode::kNotFound);
  ASSERT_TRUE(space_->Bind(key(), kTable).ok());
  EXPECT_TRUE(space_->Invalidate(key(), 0, 0).ok());
  EXPECT_TRUE(space_->Invalidate(key(), 0x7f00'0000'1000, 0x3000).ok());
  EXPECT_TRUE(space_->Invalidate(key(), ~uint64_t{0}, 1).ok());
  ExpectCode(space_->Invalidate(key(), ~uint64_t{0}, 2), absl::StatusCode::kInvalidArgument);
}

// The device

TEST_P(IommuBackendConformance, RegionsAreReadAndWritten) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  constexpr uint32_t kConfiguration = 7;
  uint16_t vendor = 0;
  EXPECT_THAT(*space_->ReadRegion(device_, kConfiguration, 0, &vendor, sizeof(vendor)),
              Eq(sizeof(vendor)));
  EXPECT_THAT(vendor, Eq(machine_->vendor_id()));
  const uint64_t word = 0x0123'4567'89ab'cdef;
  uint64_t read_back = 0;
  const uint64_t scratch = machine_->scratch_offset();
  EXPECT_THAT(*space_->WriteRegion(device_, 0, scratch, &word, sizeof(word)), Eq(sizeof(word)));
  EXPECT_THAT(*space_->ReadRegion(device_, 0, scratch, &read_back, sizeof(read_back)),
              Eq(sizeof(word)));
  EXPECT_THAT(read_back, Eq(word));
}

TEST_P(IommuBackendConformance, AccessOutsideARegionIsRefused) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  const uint64_t size = *space_->RegionSize(device_, 0);
  ASSERT_THAT(size, testing::Gt(0U));
  uint64_t word = 0;
  for (const uint64_t offset : {size - 4, size, size + 1, ~uint64_t{0}}) {
    ExpectCode(space_->ReadRegion(device_, 0, offset, &word, sizeof(word)).status(),
               absl::StatusCode::kOutOfRange);
    ExpectCode(space_->WriteRegion(device_, 0, offset, &word, sizeof(word)).status(),
               absl::StatusCode::kOutOfRange);
  }
}

TEST_P(IommuBackendConformance, RegionThatTheDeviceLacksIsEmpty) {
  ASSERT_TRUE(space_->Attach(device_).ok());
  EXPECT_THAT(*space_->RegionSize(device_, 1), Eq(0U));
  EXPECT_THAT(*space_->RegionSize(device_, 1000), Eq(0U));
}

TEST_P(IommuBackendConformance, ResetNeedsTheBindingsGone) {
  PrepareBound();
  ExpectCode(space_->Reset(device_), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(space_->Unbind(key()).ok());
  EXPECT_TRUE(space_->Reset(device_).ok());
}

// Where each interface nests PASIDs; iommu_personality_test.cc has the other kernels.
INSTANTIATE_TEST_SUITE_P(Backends, IommuBackendConformance,
                         testing::Values(Implementation{"Type1", MakeType1Machine},
                                         Implementation{"Type1OverSockets", MakeType1SocketMachine},
                                         Implementation{"Iommufd", MakeIommufdMachine},
                                         Implementation{"IommufdOverSockets",
                                                        MakeIommufdSocketMachine}),
                         NameOf);

}  // namespace
}  // namespace nestor::agent
