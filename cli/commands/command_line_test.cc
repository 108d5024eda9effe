// The commands against a server that answers as it is told to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "cli/commands/fake_server.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class CommandLineTest : public FakeServerTest {};

constexpr char kManifest[] = R"(
kind: Host
name: host-a
---
kind: VirtualMachine
name: web-1
spec: {placement: {host: host-a}}
bindings:
- {name: sva-1, spec: {pasid: 1}}
- {name: sva-2, spec: {pasid: 2}}
)";

TEST_F(CommandLineTest, GetFollowsPagesUnderOneHeader) {
  EXPECT_EQ(Run({"get", "hosts", "--state", "connected", "-l", "rack=7"}), ExitCode::kOk);
  EXPECT_EQ(fake_.hosts.filter, "state=CONNECTED AND label.rack=7");
  EXPECT_THAT(out_.str(), HasSubstr("\nhost-a "));
  EXPECT_THAT(out_.str(), HasSubstr("\nhost-b "));
  EXPECT_EQ(out_.str().find("NAME"), out_.str().rfind("NAME"));
}

TEST_F(CommandLineTest, GetOfNamesShowsWhatExistsAndFails) {
  EXPECT_EQ(Run({"get", "host", "nope", "-o", "json"}), ExitCode::kNotFound);
  EXPECT_THAT(out_.str(), IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("hosts/nope does not exist"));
}

TEST_F(CommandLineTest, ApplySendsAMachineWithAllItsBindingsAtOnce) {
  auto& response = fake_.machines.apply_response;
  response.set_created(3);
  response.set_revision(6);
  EXPECT_EQ(Run({"apply", "-f", "-"}, kManifest), ExitCode::kOk);
  ASSERT_THAT(fake_.machines.applied, SizeIs(1));
  EXPECT_THAT(fake_.machines.applied[0].pasid_bindings(), SizeIs(2));
  EXPECT_FALSE(fake_.machines.applied[0].validate_only());
  EXPECT_EQ(out_.str(),
            "host host-a: created\n"
            "virtual machine demo/web-1 with 2 bindings: 3 created\n"
            "created: 4 updated: 0 deleted: 0 unchanged: 0 (revision 6)\n");
}

TEST_F(CommandLineTest, ApplyThatChangesNothingReportsTheRevisionOfTheIntent) {
  auto& response = fake_.machines.apply_response;
  response.set_unchanged(3);
  response.set_revision(900);
  *response.add_pasid_bindings() = Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED);
  EXPECT_EQ(Run({"apply", "-f", "-"}, kManifest), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("unchanged: 3 (revision 6)\n"));
}

TEST_F(CommandLineTest, DryRunChangesNothing) {
  EXPECT_EQ(Run({"apply", "-f", "-", "--dry-run", "--wait"}, kManifest), ExitCode::kOk);
  ASSERT_THAT(fake_.machines.applied, SizeIs(1));
  EXPECT_TRUE(fake_.machines.applied[0].validate_only());
  EXPECT_THAT(out_.str(), HasSubstr("(dry run: nothing was changed)"));
}

TEST_F(CommandLineTest, RefusedFieldIsTracedToItsLineAndTheRestIsApplied) {
  fake_.machines.apply_error = errors::FieldInvalid("pasid_bindings[1].spec.device", "is required");
  EXPECT_EQ(Run({"apply", "-f", "-"}, kManifest), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("pasid_bindings[1].spec.device: is required "
                                    "(web-1/sva-2 at <stdin>:10)"));
  EXPECT_THAT(out_.str(), HasSubstr("created: 1 updated: 0 deleted: 0 unchanged: 0 failed: 1"));
}

TEST_F(CommandLineTest, WaitEndsWhenAllAreProgrammed) {
  fake_.watch.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED)),
                           Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED))},
                          std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1"}), ExitCode::kOk);
  EXPECT_EQ(fake_.watch.requests[0].parent(), kMachine);
  EXPECT_THAT(err_.str(), HasSubstr("1/1 programmed"));
}

TEST_F(CommandLineTest, WaitOutlivesABrokenWatch) {
  fake_.watch.streams = {
      {{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED))},
       grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting")},
      {{Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED))}, std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1"}), ExitCode::kOk);
  EXPECT_THAT(fake_.watch.requests, SizeIs(2));
}

TEST_F(CommandLineTest, WaitThatRunsOutExplainsTheFirst) {
  fake_.watch.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED))}, std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1", "--timeout", "300ms"}), ExitCode::kWaitTimeout);
  EXPECT_THAT(err_.str(), HasSubstr("not all programmed after 300ms"));
  EXPECT_THAT(err_.str(), HasSubstr("waiting: demo/web-1/sva-1: ACCEPTED"));
  EXPECT_THAT(err_.str(), HasSubstr("Next step:      start the monitor"));
}

TEST_F(CommandLineTest, WaitForWhatDoesNotExistIsNotFound) {
  v1::WatchResponse synced;
  synced.set_type(v1::WatchResponse::TYPE_SYNCED);
  fake_.watch.streams = {{{synced}, std::nullopt}};
  EXPECT_EQ(Run({"wait", "web-1/sva-1"}), ExitCode::kNotFound);
}

TEST_F(CommandLineTest, ApplyWaitFailsOnAPermanentFailureAndNamesIt) {
  v1::PasidBinding failed = Binding(2, v1::PasidBindingStatus::STATE_FAILED);
  failed.mutable_status()->mutable_failure()->set_kind(v1::Failure::KIND_PERMANENT);
  failed.mutable_status()->mutable_failure()->set_reason("UNSUPPORTED");
  const v1::PasidBinding good = Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED);
  *fake_.machines.apply_response.add_pasid_bindings() = good;
  *fake_.machines.apply_response.add_pasid_bindings() = failed;
  fake_.watch.streams = {{{Put(good), Put(failed)}, std::nullopt}};
  EXPECT_EQ(Run({"apply", "-f", "-", "--wait"}, kManifest), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("failed: demo/web-1/sva-2: FAILED (UNSUPPORTED)"));
  EXPECT_THAT(err_.str(), Not(HasSubstr("sva-1")));
}

TEST_F(CommandLineTest, DeleteWaitEndsWhenTheBindingIsGone) {
  v1::WatchResponse gone = Put(Binding(1, v1::PasidBindingStatus::STATE_DELETING));
  gone.set_type(v1::WatchResponse::TYPE_DELETED);
  fake_.watch.streams = {
      {{Put(Binding(1, v1::PasidBindingStatus::STATE_DELETING)), gone}, std::nullopt}};
  EXPECT_EQ(Run({"delete", "binding", "web-1/sva-1", "--wait"}), ExitCode::kOk);
  EXPECT_THAT(fake_.bindings.deleted,
              ::testing::ElementsAre(absl::StrCat(kMachine, "/pasidBindings/sva-1")));
  EXPECT_EQ(out_.str(), "binding demo/web-1/sva-1 deletion stored\n");
  EXPECT_THAT(err_.str(), HasSubstr("1/1 gone"));
}

TEST_F(CommandLineTest, WatchResumesWhereItBroke) {
  v1::WatchResponse first = Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED));
  v1::WatchResponse synced;
  synced.set_type(v1::WatchResponse::TYPE_SYNCED);
  synced.set_resume_token("t1");
  fake_.watch.streams = {
      {{first, synced}, grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting")},
      {{Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED))},
       grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "enough")}};
  EXPECT_EQ(Run({"watch", "bindings"}), ExitCode::kFailed);
  ASSERT_THAT(fake_.watch.requests, SizeIs(2));
  EXPECT_EQ(fake_.watch.requests[1].resume_token(), "t1");
  EXPECT_THAT(out_.str(), HasSubstr("present  binding          demo/web-1/sva-1"));
  EXPECT_THAT(out_.str(), HasSubstr("changed  binding          demo/web-1/sva-1"));
}

TEST_F(CommandLineTest, WatchShowsNoOtherProject) {
  v1::PasidBinding other = Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED);
  other.set_name("projects/other/virtualMachines/v/pasidBindings/b");
  fake_.watch.streams = {
      {{Put(other)}, grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "enough")}};
  Run({"watch"});
  EXPECT_THAT(out_.str(), IsEmpty());
}

}  // namespace
}  // namespace nestor::cli
