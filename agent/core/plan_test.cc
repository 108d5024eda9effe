#include "agent/core/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace nestor::agent {
namespace {

constexpr char kA[] = "0000:3b:00.0";
constexpr char kB[] = "0000:3b:00.1";

MemoryRegion Region(uint64_t guest_address, uint64_t user_address = 0x7000'0000) {
  return {.guest_address = guest_address, .size = 0x10000, .user_address = user_address};
}

PageTable Table(uint64_t root) { return {.root = root}; }

AddressSpaceState State(std::set<Bdf> devices, std::map<Bdf, std::set<MemoryRegion>> memory = {},
                        std::set<uint32_t> pasids = {},
                        std::map<BindingKey, PageTable> bindings = {}) {
  return {std::move(devices), std::move(memory), std::move(pasids), std::move(bindings)};
}

TEST(PlanTest, DiffOfEqualStatesIsEmpty) {
  const AddressSpaceState state = State({kA}, {{kA, {Region(0)}}}, {5}, {{{kA, 5}, Table(0x1000)}});
  EXPECT_EQ(Diff(state, state), Plan());
}

TEST(PlanTest, AcquiresGoAttachMapAllocateBind) {
  const AddressSpaceState desired =
      State({kA}, {{kA, {Region(0)}}}, {}, {{{kA, 5}, Table(0x1000)}});
  EXPECT_EQ(ToString(Diff(desired, {})),
            "attach 0000:3b:00.0\n"
            "map 0000:3b:00.0 gpa 0x0 size 0x10000\n"
            "allocate pasid 5\n"
            "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48");
}

TEST(PlanTest, ReleasesGoUnbindFreeUnmapDetach) {
  const AddressSpaceState actual =
      State({kA}, {{kA, {Region(0)}}}, {5}, {{{kA, 5}, Table(0x1000)}});
  EXPECT_EQ(ToString(Diff({}, actual)),
            "unbind 0000:3b:00.0 pasid 5\n"
            "free pasid 5\n"
            "unmap 0000:3b:00.0 gpa 0x0 size 0x10000\n"
            "detach 0000:3b:00.0");
}

TEST(PlanTest, AllReleasesComeBeforeAllAcquires) {
  const AddressSpaceState actual = State({kA}, {}, {5}, {{{kA, 5}, Table(0x1000)}});
  const AddressSpaceState desired = State({kB}, {}, {}, {{{kB, 6}, Table(0x1000)}});
  EXPECT_EQ(ToString(Diff(desired, actual)),
            "unbind 0000:3b:00.0 pasid 5\n"
            "free pasid 5\n"
            "detach 0000:3b:00.0\n"
            "attach 0000:3b:00.1\n"
            "allocate pasid 6\n"
            "bind 0000:3b:00.1 pasid 6 VTD_S1 root 0x1000 width 48");
}

TEST(PlanTest, MemoryChangeLeavesBindingsAlone) {
  const AddressSpaceState actual =
      State({kA}, {{kA, {Region(0, 0x7000'0000)}}}, {5}, {{{kA, 5}, Table(0x1000)}});
  AddressSpaceState desired = actual;
  desired.memory[kA] = {Region(0, 0x8000'0000)};
  EXPECT_EQ(ToString(Diff(desired, actual)),
            "unmap 0000:3b:00.0 gpa 0x0 size 0x10000\n"
            "map 0000:3b:00.0 gpa 0x0 size 0x10000");
}

TEST(PlanTest, RootChangeIsAReplace) {
  const AddressSpaceState actual = State({kA}, {}, {5}, {{{kA, 5}, Table(0x1000)}});
  AddressSpaceState desired = actual;
  desired.bindings[{kA, 5}].root = 0x2000;
  EXPECT_EQ(ToString(Diff(desired, actual)),
            "replace 0000:3b:00.0 pasid 5 VTD_S1 root 0x2000 width 48");
}

TEST(PlanTest, RidNeedsNoAllocation) {
  const AddressSpaceState desired =
      State({kA}, {}, {}, {{{kA, 0}, {.format = PageTableFormat::kArmSmmuV3, .root = 0x1000}}});
  EXPECT_EQ(ToString(Diff(desired, State({kA}))),
            "bind 0000:3b:00.0 rid ARM_SMMUV3 root 0x1000 width 48");
}

TEST(PlanTest, PasidOnTwoDevicesIsAllocatedOnceAndFreedWithTheLast) {
  AddressSpaceState both =
      State({kA, kB}, {}, {}, {{{kA, 5}, Table(0x1000)}, {{kB, 5}, Table(0x1000)}});
  EXPECT_EQ(ToString(Diff(both, State({kA, kB}))),
            "allocate pasid 5\n"
            "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48\n"
            "bind 0000:3b:00.1 pasid 5 VTD_S1 root 0x1000 width 48");
  both.pasids = {5};
  AddressSpaceState one = both;
  one.bindings.erase({kA, 5});
  EXPECT_EQ(ToString(Diff(one, both)), "unbind 0000:3b:00.0 pasid 5");
}

TEST(PlanTest, StepWhoseForerunnerFailedIsNotPossible) {
  const AddressSpaceState bound = State({kA}, {{kA, {Region(0)}}}, {5}, {{{kA, 5}, Table(0x1000)}});
  EXPECT_FALSE(IsPossible(FreePasid{5}, bound));
  EXPECT_FALSE(IsPossible(DetachDevice{kA}, bound));
  EXPECT_FALSE(IsPossible(ResetFunction{kA}, bound));
  EXPECT_TRUE(IsPossible(UnmapRegion{kA, Region(0)}, bound));
  EXPECT_FALSE(IsPossible(MapRegion{kB, Region(0)}, bound));
  EXPECT_FALSE(IsPossible(BindTable{{kA, 6}, Table(0x1000)}, bound));
  EXPECT_FALSE(IsPossible(BindTable{{kB, 5}, Table(0x1000)}, bound));
  EXPECT_TRUE(IsPossible(BindTable{{kA, 0}, Table(0x1000)}, bound));
}

TEST(PlanTest, DetachWaitsForMemory) {
  EXPECT_FALSE(IsPossible(DetachDevice{kA}, State({kA}, {{kA, {Region(0)}}})));
  EXPECT_TRUE(IsPossible(DetachDevice{kA}, State({kA})));
}

AddressSpaceState RandomState(std::mt19937& random) {
  AddressSpaceState state;
  for (const Bdf device : {kA, kB}) {
    if (random() % 4 == 0) continue;
    state.devices.insert(device);
    for (uint64_t i = 0; i < 3; ++i) {
      if (random() % 2 == 0) state.memory[device].insert(Region(i << 20, random() % 2));
    }
    for (uint32_t pasid = 0; pasid < 4; ++pasid) {
      if (random() % 2 == 0) state.bindings[{device, pasid}] = Table((1 + random() % 2) << 12);
      if (pasid != 0 && state.bindings.contains({device, pasid})) state.pasids.insert(pasid);
    }
  }
  return state;
}

TEST(PlanTest, EveryPlanIsPossibleStepByStepAndReachesTheDesiredState) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const AddressSpaceState desired = RandomState(random);
    AddressSpaceState state = RandomState(random);
    const Plan plan = Diff(desired, state);
    bool acquiring = false;
    for (const Step& step : plan) {
      ASSERT_TRUE(IsPossible(step, state)) << ToString(step) << " in\n" << ToString(plan);
      acquiring = acquiring || !IsRelease(step);
      ASSERT_NE(acquiring, IsRelease(step)) << ToString(plan);
      ApplyStep(step, &state);
    }
    ASSERT_EQ(state, desired) << ToString(plan);
  }
}

}  // namespace
}  // namespace nestor::agent
