// fence-host, drain-host and undrain-host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/support/errors.h"
#include "cli/commands/fake_server.h"

namespace nestor::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class HostAdminCommandTest : public FakeServerTest {
 protected:
  // The command on the fake's address as the admin server's.
  std::vector<std::string> Admin(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--admin-server", fake_.address()});
    return arguments;
  }
  std::vector<std::string> Fence(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"fence-host", "host-a", "--evidence", "its power is off"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Admin(arguments);
  }
  static v1::Host Draining(int64_t machines) {
    v1::Host host;
    host.set_name("hosts/host-a");
    host.mutable_status()->mutable_drain()->set_virtual_machines(machines);
    host.mutable_status()->mutable_drain()->set_bindings(3 * machines);
    return host;
  }
};

TEST_F(HostAdminCommandTest, FenceSendsWhatWasSaid) {
  fake_.host_admin.response.mutable_status()->mutable_fence()->set_epoch(5);
  EXPECT_EQ(Run(Fence({"--yes"})), ExitCode::kOk);
  ASSERT_THAT(fake_.host_admin.fenced, SizeIs(1));
  EXPECT_EQ(fake_.host_admin.fenced[0].name(), "hosts/host-a");
  EXPECT_EQ(fake_.host_admin.fenced[0].evidence(), "its power is off");
  EXPECT_FALSE(fake_.host_admin.fenced[0].force());
  EXPECT_EQ(out_.str(), "host host-a fenced at epoch 5\n");
}

TEST_F(HostAdminCommandTest, FenceWithoutATerminalAndWithoutYesSendsNothing) {
  EXPECT_EQ(Run(Fence()), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--yes"));
  EXPECT_THAT(fake_.host_admin.fenced, IsEmpty());
}

TEST_F(HostAdminCommandTest, FenceOnATerminalAsksForTheName) {
  EXPECT_EQ(RunOnTerminal(Fence(), "yes\n"), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("Everything on host-a counts as gone"));
  EXPECT_THAT(err_.str(), HasSubstr("error: host-a is not fenced"));
  EXPECT_THAT(fake_.host_admin.fenced, IsEmpty());
  EXPECT_EQ(RunOnTerminal(Fence(), "host-a\n"), ExitCode::kOk);
  EXPECT_THAT(fake_.host_admin.fenced, SizeIs(1));
}

TEST_F(HostAdminCommandTest, FenceNeedsEvidence) {
  EXPECT_EQ(Run(Admin({"fence-host", "host-a", "--yes"})), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--evidence"));
}

TEST_F(HostAdminCommandTest, RefusedFenceSaysWhyAndWhatToDo) {
  fake_.host_admin.error = errors::HostConnected("hosts/host-a", "it is not dead");
  EXPECT_EQ(Run(Fence({"--yes"})), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("it is not dead"));
}

TEST_F(HostAdminCommandTest, UnreachableAdminServerIsNamed) {
  EXPECT_EQ(Run({"undrain-host", "host-a", "--admin-server", "unix:/nowhere/admin.sock"}),
            ExitCode::kUnreachable);
  EXPECT_THAT(err_.str(), HasSubstr("unix:/nowhere/admin.sock"));
}

TEST_F(HostAdminCommandTest, DrainSaysWhatRemains) {
  fake_.host_admin.response = Draining(2);
  EXPECT_EQ(Run(Admin({"drain-host", "host-a"})), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "host host-a draining: 2 virtual machines with 6 bindings remain\n");
}

TEST_F(HostAdminCommandTest, DrainWaitsUntilNothingRemains) {
  fake_.host_admin.response = Draining(2);
  fake_.hosts.answers = {Draining(1), Draining(0)};
  EXPECT_EQ(Run(Admin({"drain-host", "host-a", "--wait"})), ExitCode::kOk);
  EXPECT_THAT(fake_.hosts.answers, IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("2/2 gone"));
}

TEST_F(HostAdminCommandTest, DrainThatSomebodyEndsIsAFailure) {
  fake_.host_admin.response = Draining(2);
  v1::Host undrained = Draining(2);
  undrained.mutable_status()->clear_drain();
  fake_.hosts.answers = {undrained};
  EXPECT_EQ(Run(Admin({"drain-host", "host-a", "--wait"})), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("somebody ended the drain"));
}

TEST_F(HostAdminCommandTest, DrainThatTakesTooLongEndsWithWhatRemains) {
  fake_.host_admin.response = Draining(2);
  fake_.hosts.answers = {Draining(1), Draining(1), Draining(1), Draining(1)};
  EXPECT_EQ(Run(Admin({"drain-host", "host-a", "--wait", "--timeout", "900ms"})),
            ExitCode::kWaitTimeout);
  EXPECT_THAT(err_.str(), HasSubstr("1 virtual machines with 3 bindings remain"));
}

TEST_F(HostAdminCommandTest, UndrainNamesTheHost) {
  EXPECT_EQ(Run(Admin({"undrain-host", "host-a"})), ExitCode::kOk);
  EXPECT_THAT(fake_.host_admin.undrained, ElementsAre("hosts/host-a"));
  EXPECT_EQ(out_.str(), "host host-a takes what is new again\n");
}

}  // namespace
}  // namespace nestor::cli
