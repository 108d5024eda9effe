#include "server/core/host_claim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/support/errors.h"
#include "server/core/keys.h"

namespace nestor::server {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

v1::Hello HelloOf(const std::string& host, const std::vector<std::string>& bdfs = {}) {
  v1::Hello hello;
  hello.set_host("hosts/" + host);
  hello.set_agent_instance("agent-1");
  hello.set_boot_id("boot-1");
  hello.mutable_inventory();
  for (const std::string& bdf : bdfs) {
    hello.mutable_inventory()->add_devices()->set_name("hosts/" + host + "/devices/" + bdf);
  }
  return hello;
}

TEST(CheckHello, NamesWhatIsMissing) {
  EXPECT_TRUE(CheckHello(HelloOf("h1", {"0000:3b:00.0"})).ok());
  v1::Hello hello = HelloOf("h1");
  hello.clear_boot_id();
  EXPECT_THAT(std::string(CheckHello(hello).message()), HasSubstr("boot_id"));
  hello = HelloOf("h1");
  hello.set_host("hosts/../h1");
  EXPECT_THAT(std::string(CheckHello(hello).message()), HasSubstr("host"));
}

TEST(CheckHello, DeviceOfAnotherHostIsRefused) {
  v1::Hello hello = HelloOf("h1");
  hello.mutable_inventory()->add_devices()->set_name("hosts/h2/devices/0000:3b:00.0");
  EXPECT_EQ(ErrorReason(CheckHello(hello)), "PROTOCOL_ERROR");
}

// A host h1 of store-a whose newest epoch, 2, was written at revision 20; the head is 40.
class CheckFenceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    storage::v1::EpochRow row;
    row.set_epoch(2);
    Feed({20, keys::Epoch("h1"), row.SerializeAsString()});
    view_.AdvanceTo(40);
  }
  void Feed(const StoreEvent& event) {
    std::vector<StateChange> changes;
    ASSERT_TRUE(view_.Apply(event, &changes).ok());
  }
  // Of an agent that has seen this; empty: it is served.
  std::string Refusal(const std::string& incarnation, int64_t epoch, int64_t revision) {
    v1::Hello hello = HelloOf("h1");
    hello.mutable_highest_seen()->set_incarnation(incarnation);
    hello.mutable_highest_seen()->set_epoch(epoch);
    hello.mutable_highest_seen()->set_head_revision(revision);
    return ErrorReason(CheckFence(hello, view_, "store-a"));
  }

  View view_;
};

TEST_F(CheckFenceTest, HostThatHoldsNothingIsServed) {
  EXPECT_TRUE(CheckFence(HelloOf("h1"), view_, "store-a").ok());
}

TEST_F(CheckFenceTest, WhatThisStoreToldIsServed) {
  EXPECT_EQ(Refusal("store-a", 2, 40), "");
  EXPECT_EQ(Refusal("store-a", 1, 19), "") << "the agent did not hear of its newest session";
}

TEST_F(CheckFenceTest, AnotherStoreMeansHold) { EXPECT_EQ(Refusal("store-b", 1, 1), "HOLD"); }

TEST_F(CheckFenceTest, EpochThatWasNeverGivenMeansHold) {
  EXPECT_EQ(Refusal("store-a", 3, 20), "HOLD");
}

TEST_F(CheckFenceTest, RevisionThatWasNeverReachedMeansHold) {
  EXPECT_EQ(Refusal("store-a", 2, 41), "HOLD");
}

TEST_F(CheckFenceTest, RevisionAfterTheEndOfTheEpochsRunMeansHold) {
  Feed({31, keys::RunEnd(30), ""});
  EXPECT_EQ(Refusal("store-a", 2, 30), "");
  EXPECT_EQ(Refusal("store-a", 2, 31), "HOLD") << "although the store is at revision 40";
}

TEST_F(CheckFenceTest, RevisionAfterTheEndOfAnOlderEpochMeansHold) {
  EXPECT_EQ(Refusal("store-a", 1, 21), "HOLD");
}

TEST(ClaimHost, FirstHelloDeclaresTheHostUnderItsFirstEpoch) {
  const HostClaim claim = ClaimHost(View(), kNow, HelloOf("h1", {"0000:3b:00.0"}), "s1", "uid-1");
  EXPECT_EQ(claim.epoch, 1);
  EXPECT_EQ(claim.status.state(), v1::HostStatus::STATE_CONNECTED);
  EXPECT_THAT(claim.transaction.puts, Contains(Key(keys::Host("h1"))));
  EXPECT_THAT(claim.transaction.puts, Contains(Key(keys::DeviceObserved("h1", "0000:3b:00.0"))));
  EXPECT_EQ(claim.transaction.durability, Durability::kSynced);
}

TEST(ClaimHost, LaterHelloTakesTheNextEpochAndDropsGoneDevices) {
  View view;
  std::vector<StateChange> changes;
  const HostClaim first = ClaimHost(view, kNow, HelloOf("h1", {"0000:3b:00.0"}), "s1", "uid-1");
  for (const auto& [key, value] : first.transaction.puts) {
    ASSERT_TRUE(view.Apply({5, key, value}, &changes).ok());
  }
  const HostClaim second = ClaimHost(view, kNow, HelloOf("h1", {"0000:5e:00.0"}), "s2", "uid-2");
  EXPECT_EQ(second.epoch, 2);
  EXPECT_THAT(second.transaction.puts, Not(Contains(Key(keys::Host("h1")))));
  EXPECT_THAT(second.transaction.deletes, Contains(keys::DeviceObserved("h1", "0000:3b:00.0")));
}

}  // namespace
}  // namespace nestor::server
