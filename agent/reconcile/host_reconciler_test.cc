#include "agent/reconcile/host_reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/core/kernel_error.h"
#include "api/support/errors.h"

namespace nestor::agent {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::NiceMock;
using ::testing::Return;
using ::testing::SizeIs;

constexpr char kMachine[] = "projects/p/virtualMachines/vm";
constexpr char kUid[] = "vm-uid";
const Bdf kDevice = "0000:3b:00.0";

class MockShim : public Shim {
 public:
  MOCK_METHOD(absl::Status, Apply,
              (const v1::Fence&, const v1::DesiredVirtualMachine*,
               (const std::vector<v1::DesiredBinding>&)),
              (override));
  MOCK_METHOD(ShimInventory, Inventory, (), (override));
  MOCK_METHOD(absl::StatusOr<std::string>, VmmConnected, (const Bdf&), (override));
  MOCK_METHOD(void, VmmDisconnected, (const Bdf&), (override));
  MOCK_METHOD(absl::Status, MapMemory, (const Bdf&, const GuestMemory&), (override));
  MOCK_METHOD(absl::Status, UnmapMemory, (const Bdf&, uint64_t, uint64_t), (override));
  MOCK_METHOD(absl::StatusOr<uint64_t>, RegionSize, (const Bdf&, uint32_t), (override));
  MOCK_METHOD(absl::StatusOr<std::string>, ReadRegion, (const Bdf&, uint32_t, uint64_t, size_t),
              (override));
  MOCK_METHOD(absl::Status, WriteRegion, (const Bdf&, uint32_t, uint64_t, const std::string&),
              (override));
  MOCK_METHOD(absl::Status, ResetDevice, (const Bdf&), (override));
  MOCK_METHOD(void, Invalidate, (const BindingKey&, uint64_t, uint64_t, InvalidateDone),
              (override));
};

class MockLauncher : public ShimLauncher {
 public:
  MOCK_METHOD(absl::StatusOr<std::shared_ptr<Shim>>, Launch,
              (const std::string&, const std::string&), (override));
  MOCK_METHOD(absl::Status, Retire, (const std::string&), (override));
  MOCK_METHOD(std::vector<std::shared_ptr<Shim>>, Running, (), (override));
};

class MockEndpoints : public VmmEndpoints {
 public:
  MOCK_METHOD(absl::Status, Open, (const std::string&, const Bdf&, std::shared_ptr<Shim>),
              (override));
  MOCK_METHOD(void, Close, (const std::string&, const Bdf&), (override));
  MOCK_METHOD(std::set<Bdf>, Opened, (const std::string& vm_name), (override));
};

v1::Fence TestFence() {
  v1::Fence fence;
  fence.set_incarnation("store");
  fence.set_epoch(1);
  fence.set_head_revision(10);
  return fence;
}

v1::SyncResponse Welcome() {
  v1::SyncResponse message;
  *message.mutable_welcome()->mutable_fence() = TestFence();
  return message;
}

v1::DesiredVirtualMachine Machine(bool absent = false) {
  v1::DesiredVirtualMachine machine;
  machine.set_name(kMachine);
  machine.set_uid(kUid);
  machine.set_generation(1);
  machine.set_absent(absent);
  if (!absent) machine.add_devices(kDevice);
  return machine;
}

v1::Result Answer(const std::string& uid, v1::Result::Outcome outcome) {
  v1::Result result;
  result.set_uid(uid);
  result.set_generation(1);
  result.set_outcome(outcome);
  return result;
}

class HostReconcilerTest : public ::testing::Test {
 protected:
  HostReconcilerTest() {
    ON_CALL(launcher_, Launch(_, _)).WillByDefault(Return(std::shared_ptr<Shim>(shim_)));
  }

  HostReconciler Make(const v1::Inventory& inventory = {}) {
    return HostReconciler({"hosts/h1", "agent-1", "boot-1", "1.0"}, inventory, launcher_,
                          endpoints_, [](const std::function<void()>& function) { function(); });
  }
  // The next message of the server, with these objects.
  v1::SyncResponse Desired(std::vector<v1::DesiredVirtualMachine> machines,
                           std::vector<v1::DesiredBinding> bindings = {}) {
    v1::SyncResponse message;
    v1::Desired& desired = *message.mutable_desired();
    *desired.mutable_fence() = TestFence();
    desired.set_delivery_seq(++sent_seq_);
    desired.mutable_virtual_machines()->Assign(machines.begin(), machines.end());
    desired.mutable_bindings()->Assign(bindings.begin(), bindings.end());
    return message;
  }

  const std::shared_ptr<NiceMock<MockShim>> shim_ = std::make_shared<NiceMock<MockShim>>();
  NiceMock<MockLauncher> launcher_;
  NiceMock<MockEndpoints> endpoints_;
  int64_t sent_seq_ = 0;
};

TEST_F(HostReconcilerTest, HelloSaysWhoItIsAndWhatRunningShimsHold) {
  ShimInventory held;
  held.virtual_machine.set_uid(kUid);
  held.virtual_machine.set_name(kMachine);
  held.bindings.push_back(Answer("b-uid", v1::Result::OUTCOME_PROGRAMMED));
  EXPECT_CALL(*shim_, Inventory()).WillRepeatedly(Return(held));
  EXPECT_CALL(launcher_, Running())
      .WillRepeatedly(Return(std::vector<std::shared_ptr<Shim>>{shim_}));
  const v1::SyncRequest request = Make().BeginSession();
  EXPECT_EQ(request.hello().host(), "hosts/h1");
  EXPECT_EQ(request.hello().boot_id(), "boot-1");
  ASSERT_THAT(request.hello().held_virtual_machines(), SizeIs(1));
  EXPECT_EQ(request.hello().held_virtual_machines(0).uid(), kUid);
  EXPECT_THAT(request.hello().held_bindings(), SizeIs(1));
  EXPECT_FALSE(request.hello().has_highest_seen()) << "nothing was seen yet";
}

TEST_F(HostReconcilerTest, NothingIsDoneBeforeWelcome) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  EXPECT_CALL(*shim_, Apply(_, _, _)).Times(0);
  EXPECT_EQ(ErrorReason(reconciler.TakeIn(Desired({Machine()}))), "PROTOCOL_ERROR");
  EXPECT_EQ(reconciler.NextResults(), std::nullopt);
}

TEST_F(HostReconcilerTest, SkippedOrRepeatedDeliveryIsRefused) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  const v1::SyncResponse first = Desired({});
  ASSERT_TRUE(reconciler.TakeIn(first).ok());
  EXPECT_EQ(ErrorReason(reconciler.TakeIn(first)), "PROTOCOL_ERROR");
  Desired({});  // lost
  EXPECT_EQ(ErrorReason(reconciler.TakeIn(Desired({}))), "PROTOCOL_ERROR");
}

TEST_F(HostReconcilerTest, NewMachineGetsAShimAndASocketForEachDevice) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  EXPECT_CALL(launcher_, Launch(kMachine, kUid));
  EXPECT_CALL(*shim_, Apply(_, _, IsEmpty()));
  EXPECT_CALL(endpoints_, Open(kMachine, kDevice, _));
  ASSERT_TRUE(reconciler.TakeIn(Desired({Machine()})).ok());
  const auto results = reconciler.NextResults();
  ASSERT_TRUE(results.has_value()) << "what was taken in is acknowledged";
  EXPECT_EQ(results->results().acked_seq(), 1);
  EXPECT_EQ(reconciler.NextResults(), std::nullopt) << "once";
}

TEST_F(HostReconcilerTest, ShimThatDoesNotStartFailsItsMachineAlone) {
  ON_CALL(launcher_, Launch(_, _)).WillByDefault(Return(absl::UnavailableError("no memory")));
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  ASSERT_TRUE(reconciler.TakeIn(Desired({Machine()})).ok());
  const auto results = reconciler.NextResults();
  ASSERT_TRUE(results.has_value());
  ASSERT_THAT(results->results().virtual_machines(), SizeIs(1));
  EXPECT_EQ(results->results().virtual_machines(0).failure().reason(), "SHIM_LAUNCH_FAILED");
}

TEST_F(HostReconcilerTest, RefusalOfTheFenceEndsTheSession) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  EXPECT_CALL(*shim_, Apply(_, _, _)).WillOnce(Return(absl::AbortedError("an older epoch")));
  EXPECT_TRUE(absl::IsAborted(reconciler.TakeIn(Desired({Machine()}))));
}

TEST_F(HostReconcilerTest, BindingOfAnUnknownMachineIsAnsweredByTheAgentItself) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  v1::DesiredBinding wanted;
  wanted.set_uid("b1");
  wanted.set_vm_uid("nobody");
  v1::DesiredBinding gone = wanted;
  gone.set_uid("b2");
  gone.set_absent(true);
  ASSERT_TRUE(reconciler.TakeIn(Desired({}, {wanted, gone})).ok());
  const auto results = reconciler.NextResults();
  ASSERT_TRUE(results.has_value());
  ASSERT_THAT(results->results().bindings(), SizeIs(2));
  EXPECT_EQ(results->results().bindings(0).outcome(), v1::Result::OUTCOME_FAILED);
  EXPECT_EQ(results->results().bindings(0).failure().reason(), "VM_UNKNOWN");
  EXPECT_EQ(results->results().bindings(1).outcome(), v1::Result::OUTCOME_ABSENT);
}

TEST_F(HostReconcilerTest, MachineThatIsGoneLosesItsSocketsAndItsShim) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  ASSERT_TRUE(reconciler.TakeIn(Desired({Machine()})).ok());
  EXPECT_CALL(endpoints_, Close(kMachine, kDevice));
  ASSERT_TRUE(reconciler.TakeIn(Desired({Machine(/*absent=*/true)})).ok());
  EXPECT_CALL(launcher_, Retire(kUid));
  ShimReport report;
  report.virtual_machines.emplace_back().set_uid(kUid);
  report.virtual_machines.back().set_absent(true);
  reconciler.Collect(std::move(report));
}

TEST_F(HostReconcilerTest, FlappingBindingFillsNoQueue) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  for (int i = 0; i < 1000; ++i) {
    ShimReport report;
    report.bindings.push_back(
        Answer("b1", i % 2 == 0 ? v1::Result::OUTCOME_FAILED : v1::Result::OUTCOME_ACCEPTED));
    reconciler.Collect(std::move(report));
  }
  const auto results = reconciler.NextResults();
  ASSERT_TRUE(results.has_value());
  EXPECT_THAT(results->results().bindings(), SizeIs(2));
}

TEST_F(HostReconcilerTest, ManyAnswersGoInSeveralMessages) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  ShimReport report;
  for (int i = 0; i < 300; ++i) {
    report.bindings.push_back(Answer(std::to_string(i), v1::Result::OUTCOME_PROGRAMMED));
  }
  reconciler.Collect(std::move(report));
  EXPECT_THAT(reconciler.NextResults()->results().bindings(), SizeIs(256));
  EXPECT_THAT(reconciler.NextResults()->results().bindings(), SizeIs(44));
  EXPECT_EQ(reconciler.NextResults(), std::nullopt);
}

TEST_F(HostReconcilerTest, NewSessionForgetsAnswersAndNamesTheHighestFence) {
  HostReconciler reconciler = Make();
  reconciler.BeginSession();
  ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
  ASSERT_TRUE(reconciler.TakeIn(Desired({})).ok());
  const v1::SyncRequest hello = reconciler.BeginSession();
  EXPECT_EQ(hello.hello().highest_seen().head_revision(), 10);
  EXPECT_EQ(reconciler.NextResults(), std::nullopt);
}

class HostReconcilerInvalidationTest : public HostReconcilerTest {
 protected:
  // A welcomed session with the shim of kUid; its messages until now are taken.
  HostReconcilerInvalidationTest() {
    reconciler_.BeginSession();
    EXPECT_TRUE(reconciler_.TakeIn(Welcome()).ok());
    EXPECT_TRUE(reconciler_.TakeIn(Desired({Machine()})).ok());
    reconciler_.NextResults();
    ON_CALL(*shim_, Invalidate(_, _, _, _))
        .WillByDefault([this](const BindingKey&, uint64_t, uint64_t, Shim::InvalidateDone done) {
          done_ = std::move(done);
        });
  }
  static v1::SyncResponse Invalidation(int64_t id, const std::string& vm_uid = kUid) {
    v1::SyncResponse message;
    v1::Invalidation& invalidation = *message.mutable_invalidation();
    invalidation.set_id(id);
    *invalidation.mutable_fence() = TestFence();
    invalidation.set_vm_uid(vm_uid);
    invalidation.set_device(kDevice);
    invalidation.set_pasid(5);
    invalidation.mutable_range()->set_address(0x1000);
    invalidation.mutable_range()->set_size(0x2000);
    return message;
  }
  // The answer to the one invalidation that was asked for; id 0: none yet.
  v1::InvalidationResult NextAnswer() {
    const auto request = reconciler_.NextResults();
    if (!request || request->results().invalidations_size() != 1) return {};
    return request->results().invalidations(0);
  }

  HostReconciler reconciler_ = Make();
  Shim::InvalidateDone done_;
};

TEST_F(HostReconcilerInvalidationTest, ShimIsAskedAndItsAnswerSent) {
  EXPECT_CALL(*shim_, Invalidate(BindingKey{kDevice, 5}, 0x1000, 0x2000, _));
  ASSERT_TRUE(reconciler_.TakeIn(Invalidation(7)).ok());
  EXPECT_EQ(NextAnswer().id(), 0);
  done_(absl::OkStatus());
  const v1::InvalidationResult answer = NextAnswer();
  EXPECT_EQ(answer.id(), 7);
  EXPECT_FALSE(answer.has_failure());
}

TEST_F(HostReconcilerInvalidationTest, KernelErrorIsSentWhole) {
  ASSERT_TRUE(reconciler_.TakeIn(Invalidation(7)).ok());
  done_(KernelErrorStatus({"CACHE_INVALIDATE", "pasid 5", EIO}));
  const v1::Failure failure = NextAnswer().failure();
  EXPECT_EQ(failure.kernel_error().operation(), "CACHE_INVALIDATE");
  EXPECT_EQ(failure.kernel_error().error_name(), "EIO");
  EXPECT_EQ(failure.kind(), v1::Failure::KIND_TRANSIENT);
}

TEST_F(HostReconcilerInvalidationTest, UnknownMachineIsNotProgrammed) {
  EXPECT_CALL(*shim_, Invalidate(_, _, _, _)).Times(0);
  ASSERT_TRUE(reconciler_.TakeIn(Invalidation(7, "another")).ok());
  EXPECT_EQ(NextAnswer().failure().reason(), "NOT_PROGRAMMED");
}

TEST_F(HostReconcilerInvalidationTest, AnswerOfAnEarlierSessionIsNotSentToTheNext) {
  ASSERT_TRUE(reconciler_.TakeIn(Invalidation(7)).ok());
  reconciler_.BeginSession();
  ASSERT_TRUE(reconciler_.TakeIn(Welcome()).ok());
  done_(absl::OkStatus());
  EXPECT_EQ(NextAnswer().id(), 0);
}

TEST_F(HostReconcilerInvalidationTest, AnotherSessionsFenceEndsTheStream) {
  EXPECT_CALL(*shim_, Invalidate(_, _, _, _)).Times(0);
  v1::SyncResponse older = Invalidation(7);
  older.mutable_invalidation()->mutable_fence()->set_epoch(2);
  EXPECT_EQ(ErrorReason(reconciler_.TakeIn(older)), "PROTOCOL_ERROR");
  v1::SyncResponse without = Invalidation(8);
  without.mutable_invalidation()->clear_fence();
  EXPECT_EQ(ErrorReason(reconciler_.TakeIn(without)), "PROTOCOL_ERROR");
}

v1::Inventory DevicesOnVfio(const std::vector<Bdf>& devices) {
  v1::Inventory inventory;
  for (const Bdf& bdf : devices) {
    v1::Device& device = *inventory.add_devices();
    device.set_name("hosts/h1/devices/" + bdf);
    device.mutable_status()->set_driver("vfio-pci");
  }
  return inventory;
}

class UnpluggedDeviceTest : public HostReconcilerTest {
 protected:
  UnpluggedDeviceTest() {
    ON_CALL(*shim_, Apply(_, _, _))
        .WillByDefault([this](const auto&, const v1::DesiredVirtualMachine* machine, const auto&) {
          told_.emplace_back(machine->unplugged_devices().begin(),
                             machine->unplugged_devices().end());
          return absl::OkStatus();
        });
  }
  void Start(HostReconciler& reconciler) {
    reconciler.BeginSession();
    ASSERT_TRUE(reconciler.TakeIn(Welcome()).ok());
    ASSERT_TRUE(reconciler.TakeIn(Desired({Machine()})).ok());
    while (reconciler.NextResults().has_value()) {
    }
  }

  std::vector<std::vector<Bdf>> told_;  // unplugged devices, by call
};

TEST_F(UnpluggedDeviceTest, MachineIsToldWhenItsDeviceGoesAndWhenItIsBack) {
  HostReconciler reconciler = Make(DevicesOnVfio({kDevice}));
  Start(reconciler);
  EXPECT_THAT(told_, ElementsAre(IsEmpty()));
  reconciler.UpdateInventory(DevicesOnVfio({}));
  EXPECT_THAT(told_, ElementsAre(IsEmpty(), ElementsAre(kDevice)));
  reconciler.UpdateInventory(DevicesOnVfio({"0000:99:00.0"}));
  EXPECT_THAT(told_, SizeIs(2)) << "of other devices it hears nothing";
  reconciler.UpdateInventory(DevicesOnVfio({kDevice}));
  EXPECT_THAT(told_, ElementsAre(IsEmpty(), ElementsAre(kDevice), IsEmpty()));
}

TEST_F(UnpluggedDeviceTest, ServerIsToldTheWholeInventoryAnew) {
  HostReconciler reconciler = Make(DevicesOnVfio({kDevice}));
  Start(reconciler);
  reconciler.UpdateInventory(DevicesOnVfio({kDevice, "0000:99:00.0"}));
  const auto message = reconciler.NextResults();
  ASSERT_TRUE(message.has_value());
  EXPECT_THAT(message->inventory().devices(), SizeIs(2));
  EXPECT_EQ(reconciler.NextResults(), std::nullopt);
  EXPECT_THAT(reconciler.BeginSession().hello().inventory().devices(), SizeIs(2));
}

TEST_F(UnpluggedDeviceTest, DeviceThatIsGoneWhenItsMachineComesIsNamed) {
  HostReconciler reconciler = Make(DevicesOnVfio({kDevice}));
  reconciler.UpdateInventory(DevicesOnVfio({}));
  Start(reconciler);
  EXPECT_THAT(told_, ElementsAre(ElementsAre(kDevice)));
}

TEST_F(UnpluggedDeviceTest, DeviceThatNeverWasThereIsLeftToTheShimUntilItAppears) {
  HostReconciler reconciler = Make(DevicesOnVfio({}));
  Start(reconciler);
  EXPECT_THAT(told_, ElementsAre(IsEmpty()));
  reconciler.UpdateInventory(DevicesOnVfio({kDevice}));
  EXPECT_THAT(told_, ElementsAre(IsEmpty(), IsEmpty())) << "told again, to try again";
}

}  // namespace
}  // namespace nestor::agent
