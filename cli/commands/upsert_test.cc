#include "cli/commands/upsert.h"

#include <gtest/gtest.h>

#include <optional>

#include "nestor/v1/resources.pb.h"

namespace nestor::cli {
namespace {

v1::Host Host(bool cordoned, const std::string& tier = "web") {
  v1::Host host;
  host.set_name("hosts/h");
  host.mutable_spec()->set_cordoned(cordoned);
  (*host.mutable_metadata()->mutable_labels())["tier"] = tier;
  return host;
}

// A server that keeps one host, and can lose races on demand.
struct FakeHosts {
  absl::StatusOr<v1::Host> Get() {
    if (!stored.has_value()) return errors::NotFound("hosts/h");
    return *stored;
  }
  absl::StatusOr<v1::Host> Write(const v1::Host& host) {
    ++writes;
    const bool lost = races-- > 0;
    if (lost && !stored.has_value()) {
      stored = Host(false, "somebody else's");
      return errors::AlreadyExists("hosts/h");
    }
    if (lost) return errors::EtagMismatch("hosts/h", "2");
    stored = host;
    return host;
  }
  absl::StatusOr<Upserted<v1::Host>> Apply(const v1::Host& wanted) {
    auto write = [this](const v1::Host& host) { return Write(host); };
    return Upsert(
        wanted, [this](const std::string&) { return Get(); }, write, write);
  }

  std::optional<v1::Host> stored;
  int races = 0;
  int writes = 0;
};

TEST(Upsert, MissingIsCreatedThenUnchangedThenUpdated) {
  FakeHosts hosts;
  EXPECT_EQ(hosts.Apply(Host(false))->outcome, UpsertOutcome::kCreated);
  EXPECT_EQ(hosts.Apply(Host(false))->outcome, UpsertOutcome::kUnchanged);
  EXPECT_EQ(hosts.writes, 1);
  EXPECT_EQ(hosts.Apply(Host(true))->outcome, UpsertOutcome::kUpdated);
  EXPECT_EQ(hosts.Apply(Host(true, "db"))->outcome, UpsertOutcome::kUpdated);
  EXPECT_EQ(hosts.writes, 3);
}

TEST(Upsert, LostRaceIsRunAgain) {
  FakeHosts hosts;
  hosts.races = 2;
  EXPECT_EQ(hosts.Apply(Host(false))->outcome, UpsertOutcome::kUpdated);
  EXPECT_EQ(hosts.stored->metadata().labels().at("tier"), "web");
}

TEST(Upsert, RaceLostForeverIsAnError) {
  FakeHosts hosts;
  hosts.races = 100;
  EXPECT_EQ(ErrorReason(hosts.Apply(Host(false)).status()), "ETAG_MISMATCH");
  EXPECT_EQ(hosts.writes, 3);
}

TEST(Upsert, OtherErrorsAreNotRetried) {
  auto refused = [](const v1::Host&) -> absl::StatusOr<v1::Host> {
    return errors::PasidInUse("0000:01:00.0", 5, "somebody");
  };
  FakeHosts hosts;
  auto result = Upsert(
      Host(false), [&](const std::string&) { return hosts.Get(); }, refused, refused);
  EXPECT_EQ(ErrorReason(result.status()), "PASID_IN_USE");
}

}  // namespace
}  // namespace nestor::cli
