// What is the process's own about a shim; what it has in common with others is in
// shim_conformance_test.cc.
#include "agent/shim/process_shim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>

#include "agent/kernel/linux_syscalls.h"
#include "agent/shim/inline_shim_fixture.h"
#include "agent/shim/test_shim_process.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ProcessShimTest : public ::testing::Test {
 protected:
  ProcessShimTest() {
    std::string pattern = "/tmp/nestor-shim-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    StartProcess();
  }
  ~ProcessShimTest() override {
    process_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::string socket() const { return directory_ + "/shim.sock"; }
  void StartProcess() {
    process_ = std::make_unique<TestShimProcess>("projects/p/virtualMachines/v", kVmUid, socket(),
                                                 backend_, syscalls_, InlineShimOptions());
  }
  absl::StatusOr<std::shared_ptr<ProcessShim>> Connect(const ShimProtocolVersions& versions = {}) {
    ShimEvents events;
    events.report = [this](const std::string& vm_uid, ShimReport report) {
      reports_.Take(vm_uid, std::move(report));
    };
    events.on_step = [this](const std::string& step, absl::Duration, const absl::Status& status) {
      if (step == "attach") attached_.set_value(status);
    };
    events.lost = [this](const std::string& vm_uid) { lost_.set_value(vm_uid); };
    return ProcessShim::Connect(socket(), versions, events);
  }
  static v1::Fence Fence(int64_t epoch = 1) {
    v1::Fence fence;
    fence.set_incarnation("store-1");
    fence.set_epoch(epoch);
    fence.set_head_revision(1);
    return fence;
  }
  static absl::Status Tell(Shim& shim, v1::DesiredVirtualMachine machine) {
    machine.set_uid(kVmUid);
    return shim.Apply(Fence(), &machine, {});
  }

  std::string directory_;
  RecordingBackend backend_;
  kernel::LinuxSyscalls syscalls_;
  Reports reports_;
  std::promise<absl::Status> attached_;
  std::promise<std::string> lost_;
  std::unique_ptr<TestShimProcess> process_;
};

TEST_F(ProcessShimTest, HelloSaysWhoseShimItIs) {
  const auto shim = *Connect();
  EXPECT_EQ(shim->vm_name(), "projects/p/virtualMachines/v");
  EXPECT_EQ(shim->vm_uid(), kVmUid);
  EXPECT_THAT(shim->Describe(), HasSubstr("version test, protocol 1"));
}

TEST_F(ProcessShimTest, NewerAgentSpeaksAsTheShimDoes) {
  const auto shim = *Connect({.oldest = 1, .newest = kNewestShimProtocol + 1});
  EXPECT_THAT(shim->Describe(), HasSubstr("protocol 1"));
  EXPECT_TRUE(Tell(*shim, Machine(1, {kA})).ok());
}

TEST_F(ProcessShimTest, AgentThatSpeaksOnlyNewerVersionsIsRefused) {
  EXPECT_EQ(Connect({.oldest = kNewestShimProtocol + 1, .newest = kNewestShimProtocol + 1})
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ProcessShimTest, NextAgentFindsWhatTheFirstOneMadeAndItsFenceIsStillKept) {
  {
    const auto first = *Connect();
    v1::DesiredVirtualMachine machine = Machine(1, {kA});
    machine.set_uid(kVmUid);
    ASSERT_TRUE(first->Apply(Fence(/*epoch=*/5), &machine, {}).ok());
    ASSERT_TRUE(first->OpenEndpoint(kA).ok());
  }
  const auto second = *Connect();
  EXPECT_EQ(second->Inventory().fence.epoch(), 5);
  EXPECT_EQ(second->Inventory().virtual_machine.generation(), 1);
  EXPECT_THAT(second->OpenEndpoints(), ElementsAre(kA));
  EXPECT_EQ(GetReason(second->Apply(Fence(/*epoch=*/4), nullptr, {})), "STALE_FENCE");
}

TEST_F(ProcessShimTest, NewAgentTakesOverFromOneThatIsStillConnected) {
  const auto first = *Connect();
  const auto second = *Connect();
  EXPECT_EQ(lost_.get_future().get(), kVmUid);
  EXPECT_FALSE(first->IsAlive());
  EXPECT_TRUE(Tell(*second, Machine(1, {kA})).ok());
}

TEST_F(ProcessShimTest, EndOfTheProcessIsALoss) {
  const auto shim = *Connect();
  process_.reset();
  EXPECT_EQ(lost_.get_future().get(), kVmUid);
  EXPECT_EQ(Tell(*shim, Machine(1, {kA})).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(shim->VmmConnected(kA).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(shim->Inventory().virtual_machine.uid(), kVmUid);
}

TEST_F(ProcessShimTest, StepsAreToldForMetrics) {
  const auto shim = *Connect();
  ASSERT_TRUE(Tell(*shim, Machine(1, {kA})).ok());
  EXPECT_TRUE(attached_.get_future().get().ok());
}

TEST_F(ProcessShimTest, RetireRefusesAShimThatHoldsSomethingAndIsNoLoss) {
  const auto shim = *Connect();
  ASSERT_TRUE(Tell(*shim, Machine(1, {kA})).ok());
  ASSERT_TRUE(shim->VmmConnected(kA).ok());
  EXPECT_EQ(shim->Retire().code(), absl::StatusCode::kFailedPrecondition);
  v1::DesiredVirtualMachine absent = Machine(2, {});
  absent.set_absent(true);
  ASSERT_TRUE(Tell(*shim, absent).ok());
  ASSERT_TRUE(reports_.WaitForMachine([](const auto& machine) { return machine.absent(); }));
  ASSERT_TRUE(shim->Retire().ok());
  process_.reset();
  EXPECT_EQ(lost_.get_future().wait_for(std::chrono::seconds(0)), std::future_status::timeout);
}

TEST_F(ProcessShimTest, WhatIsNoCallEndsTheConnectionAndNotTheShim) {
  PacketSocket stranger = *PacketSocket::Connect(socket());
  ASSERT_TRUE(stranger.Send("\xff\xff\xff").ok());
  EXPECT_EQ(stranger.Receive().status().code(), absl::StatusCode::kUnavailable);
  wire::Call early;
  early.mutable_inventory();
  stranger = *PacketSocket::Connect(socket());
  ASSERT_TRUE(stranger.Send(early.SerializeAsString()).ok());
  EXPECT_EQ(stranger.Receive().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Connect().ok());
}

TEST_F(ProcessShimTest, CallOfALaterVersionIsAnsweredAsUnknown) {
  PacketSocket agent = *PacketSocket::Connect(socket());
  wire::Call hello;
  hello.set_id(1);
  hello.mutable_hello()->set_oldest_version(1);
  hello.mutable_hello()->set_newest_version(9);
  ASSERT_TRUE(agent.Send(hello.SerializeAsString()).ok());
  wire::Answer answer;
  ASSERT_TRUE(answer.ParseFromString(agent.Receive()->bytes));
  EXPECT_EQ(answer.hello().version(), kNewestShimProtocol);
  wire::Call unknown;
  unknown.set_id(2);
  ASSERT_TRUE(agent.Send(unknown.SerializeAsString()).ok());
  ASSERT_TRUE(answer.ParseFromString(agent.Receive()->bytes));
  EXPECT_EQ(answer.id(), 2);
  EXPECT_EQ(FromWire(answer.status()).code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace nestor::agent
