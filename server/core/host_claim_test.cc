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

TEST(CheckFence, AnotherStoreAndAnEarlierRevisionMeanHold) {
  v1::Hello hello = HelloOf("h1");
  EXPECT_TRUE(CheckFence(hello, {"store-a", 10}).ok()) << "a host that holds nothing yet";
  hello.mutable_highest_seen()->set_incarnation("store-a");
  hello.mutable_highest_seen()->set_head_revision(10);
  EXPECT_TRUE(CheckFence(hello, {"store-a", 10}).ok());
  EXPECT_EQ(ErrorReason(CheckFence(hello, {"store-a", 9})), "HOLD");
  EXPECT_EQ(ErrorReason(CheckFence(hello, {"store-b", 1000})), "HOLD");
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
