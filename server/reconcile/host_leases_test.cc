#include "server/reconcile/host_leases.h"

#include <gtest/gtest.h>

#include <optional>

#include "api/support/errors.h"
#include "server/reconcile/test_agent.h"

namespace nestor::server {
namespace {

class HostLeasesTest : public ::testing::Test {
 protected:
  ManualClock clock_;
  HostLeases leases_{absl::Seconds(40), clock_};
};

TEST_F(HostLeasesTest, RunsOutAfterItsLengthOfSilence) {
  leases_.Grant("hosts/h1", "s1");
  clock_.Advance(absl::Seconds(39));
  EXPECT_EQ(leases_.Left("hosts/h1", "s1"), absl::Seconds(1));
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(leases_.Left("hosts/h1", "s1"), absl::ZeroDuration());
  EXPECT_EQ(leases_.Left("hosts/h1", "s1"), std::nullopt);
  EXPECT_FALSE(leases_.IsHeld("hosts/h1"));
}

TEST_F(HostLeasesTest, RenewalStartsItAnew) {
  leases_.Grant("hosts/h1", "s1");
  clock_.Advance(absl::Seconds(30));
  ASSERT_TRUE(leases_.Renew("hosts/h1", "s1").ok());
  EXPECT_EQ(leases_.Left("hosts/h1", "s1"), absl::Seconds(40));
}

TEST_F(HostLeasesTest, AnEarlierSessionNeitherRenewsNorEndsTheNewOne) {
  leases_.Grant("hosts/h1", "s1");
  leases_.Grant("hosts/h1", "s2");
  EXPECT_EQ(ErrorReason(leases_.Renew("hosts/h1", "s1")), "NOT_SESSION_OWNER");
  clock_.Advance(absl::Seconds(100));
  EXPECT_EQ(leases_.Left("hosts/h1", "s1"), std::nullopt);
  EXPECT_TRUE(leases_.IsHeld("hosts/h1"));
}

TEST_F(HostLeasesTest, OneThatRanOutIsNotRenewed) {
  leases_.Grant("hosts/h1", "s1");
  clock_.Advance(absl::Seconds(40));
  leases_.Left("hosts/h1", "s1");
  EXPECT_EQ(ErrorReason(leases_.Renew("hosts/h1", "s1")), "NOT_SESSION_OWNER");
}

}  // namespace
}  // namespace nestor::server
