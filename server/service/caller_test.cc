#include "server/service/caller.h"

#include <gtest/gtest.h>

#include "api/support/errors.h"

namespace nestor::server {
namespace {

using Kind = Caller::Kind;

Caller Local() {
  Caller caller;
  caller.kind = Kind::kLocal;
  caller.name = "local";
  return caller;
}

TEST(ParseCaller, EachKindIsKnownByItsPath) {
  const Caller agent = ParseCaller("spiffe://example.org/agent/host-a");
  EXPECT_EQ(agent.kind, Kind::kAgent);
  EXPECT_EQ(agent.host, "hosts/host-a");
  EXPECT_EQ(agent.name, "spiffe://example.org/agent/host-a");
  const Caller writer = ParseCaller("spiffe://example.org/project/demo/writer");
  EXPECT_EQ(writer.kind, Kind::kProjectWriter);
  EXPECT_EQ(writer.project, "demo");
  const Caller reader = ParseCaller("spiffe://example.org/project/demo/reader");
  EXPECT_EQ(reader.kind, Kind::kProjectReader);
  EXPECT_EQ(reader.project, "demo");
  EXPECT_EQ(ParseCaller("spiffe://example.org/operator").kind, Kind::kOperator);
  EXPECT_EQ(ParseCaller("spiffe://example.org/auditor").kind, Kind::kAuditor);
}

TEST(ParseCaller, AnythingElseIsUnknownAndNamesNeitherHostNorProject) {
  for (const char* id : {"",
                         "local",
                         "https://example.org/operator",
                         "spiffe:///operator",
                         "spiffe://example.org",
                         "spiffe://example.org/",
                         "spiffe://example.org/operator/",
                         "spiffe://example.org/root",
                         "spiffe://example.org/operator/x",
                         "spiffe://example.org/Operator",
                         "spiffe://example.org/agent",
                         "spiffe://example.org/agent/",
                         "spiffe://example.org/agent/a/b",
                         "spiffe://example.org/agent/..",
                         "spiffe://example.org/agent/Host",
                         "spiffe://example.org/project/demo",
                         "spiffe://example.org/project/demo/owner",
                         "spiffe://example.org/project/-/writer",
                         "spiffe://example.org/project//writer",
                         "spiffe://example.org/project/demo/writer/x"}) {
    const Caller caller = ParseCaller(id);
    EXPECT_EQ(caller.kind, Kind::kUnknown) << id;
    EXPECT_EQ(caller.host, "") << id;
    EXPECT_EQ(caller.project, "") << id;
  }
}

TEST(Caller, AgentsAndClientsKeepToTheirServices) {
  const Caller agent = ParseCaller("spiffe://x/agent/host-a");
  EXPECT_EQ(CheckAgent(agent), absl::OkStatus());
  EXPECT_EQ(ErrorReason(CheckClient(agent)), "ROLE_DENIED");
  EXPECT_EQ(ErrorReason(CheckOperator(agent)), "ROLE_DENIED");
  for (const char* id : {"spiffe://x/project/demo/writer", "spiffe://x/project/demo/reader",
                         "spiffe://x/operator", "spiffe://x/auditor"}) {
    const Caller client = ParseCaller(id);
    EXPECT_EQ(CheckClient(client), absl::OkStatus()) << id;
    EXPECT_EQ(ErrorReason(CheckAgent(client)), "ROLE_DENIED") << id;
    EXPECT_EQ(CheckOperator(client).ok(), client.kind == Kind::kOperator) << id;
  }
}

TEST(Caller, NobodyKnownMayDoNothing) {
  const Caller nobody = ParseCaller("spiffe://x/stranger");
  for (const absl::Status& status : {CheckClient(nobody), CheckAgent(nobody),
                                     CheckAgentOf(nobody, "hosts/host-a"), CheckOperator(nobody)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(ErrorReason(status), "IDENTITY_UNKNOWN");
  }
}

TEST(Caller, AgentSpeaksForItsOwnHostOnly) {
  const Caller agent = ParseCaller("spiffe://x/agent/host-a");
  EXPECT_EQ(CheckAgentOf(agent, "hosts/host-a"), absl::OkStatus());
  for (const char* host : {"hosts/host-b", "hosts/host-a1", "host-a", ""}) {
    const absl::Status status = CheckAgentOf(agent, host);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << host;
    EXPECT_EQ(ErrorReason(status), "IDENTITY_MISMATCH") << host;
  }
}

TEST(Caller, LocalPlaintextIsNotChecked) {
  EXPECT_EQ(CheckClient(Local()), absl::OkStatus());
  EXPECT_EQ(CheckAgentOf(Local(), "hosts/any"), absl::OkStatus());
  EXPECT_EQ(CheckOperator(Local()), absl::OkStatus());
}

}  // namespace
}  // namespace nestor::server
