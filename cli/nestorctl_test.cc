// Runs the program itself: what a script relies on are exit codes and which stream a text
// is on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/test_shell.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;

// `arguments` may redirect.
ShellOutcome RunNestorctl(const std::string& arguments) {
  return RunShell(absl::StrCat("nestorctl ", arguments));
}

TEST(Nestorctl, HelpOfEveryCommandHasExamples) {
  for (const char* command : {"", "apply", "bind", "completion", "delete", "describe", "diff",
                              "drain-host", "explain", "fence-host", "get", "help", "invalidate",
                              "unbind", "undrain-host", "version", "wait", "watch"}) {
    const ShellOutcome outcome = RunNestorctl(absl::StrCat(command, " --help"));
    EXPECT_EQ(outcome.exit_code, 0) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Examples:\n")) << command;
  }
}

TEST(Nestorctl, HelpExplainsACommandAndTheExitCodes) {
  EXPECT_EQ(RunNestorctl("help get").out, RunNestorctl("get --help").out);
  EXPECT_EQ(RunNestorctl("help").out, RunNestorctl("--help").out);
  EXPECT_THAT(RunNestorctl("help exit-codes").out, HasSubstr("\n    5  the server cannot"));
}

TEST(Nestorctl, UsageErrorSaysWhichHelpToRead) {
  EXPECT_EQ(RunNestorctl("get pods 2>&1").out,
            "error: unknown kind \"pods\"; known are hosts, devices, vms, bindings\n"
            "Run `nestorctl get --help` for usage.\n");
}

TEST(Nestorctl, VersionGoesToStdout) {
  const ShellOutcome outcome = RunNestorctl("version 2>/dev/null");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "nestorctl " NESTOR_VERSION " (API nestor.v1)\n");
}

TEST(Nestorctl, UsageErrorsExitWithTwoAndSpeakOnStderr) {
  for (const char* arguments : {"",
                                "gett hosts",
                                "get",
                                "get hosts --no-such-option",
                                "get hosts -o xml",
                                "get pods",
                                "get hosts --timeout soon",
                                "get hosts --timeout -1s",
                                "get hosts --project ..",
                                "apply",
                                "apply -f /no/such/file",
                                "delete vm",
                                "delete device h/0000:01:00.0",
                                "wait web-1 --for ready",
                                "explain web-1",
                                "watch devices",
                                "completion tcsh",
                                "help nothing",
                                "diff",
                                "unbind",
                                "unbind web-1",
                                "bind web-1/a"}) {
    EXPECT_EQ(RunNestorctl(absl::StrCat(arguments, " 2>/dev/null")).exit_code, 2) << arguments;
    EXPECT_EQ(RunNestorctl(absl::StrCat(arguments, " 2>/dev/null")).out, "") << arguments;
  }
}

TEST(Nestorctl, UnknownCommandIsAnsweredWithTheNearest) {
  EXPECT_THAT(RunNestorctl("descibe 2>&1").out,
              HasSubstr("unknown command \"descibe\"; did you mean \"describe\"?"));
}

TEST(Nestorctl, PlaintextMustBeAskedForAndStaysOnTheMachine) {
  const ShellOutcome secure = RunNestorctl("get hosts 2>&1");
  EXPECT_EQ(secure.exit_code, 2);
  EXPECT_THAT(secure.out, HasSubstr("give --tls-cert, --tls-key and --tls-ca, or --insecure"));
  const ShellOutcome remote = RunNestorctl("get hosts --insecure --server example.com:7440 2>&1");
  EXPECT_EQ(remote.exit_code, 2);
  EXPECT_THAT(remote.out, HasSubstr("stays on this machine"));
}

TEST(Nestorctl, UnreachableServerIsSaidClearlyAndInTime) {
  const absl::Time start = absl::Now();
  const ShellOutcome outcome =
      RunNestorctl("get hosts --insecure --server unix:/no/such/socket --timeout 2s 2>&1");
  EXPECT_LT(absl::Now() - start, absl::Seconds(8));
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_THAT(outcome.out, HasSubstr("error: cannot list hosts: "));
  EXPECT_THAT(outcome.out, HasSubstr("listens on unix:/no/such/socket"));
}

TEST(Nestorctl, WrongManifestIsRefusedBeforeAnythingIsSent) {
  const ShellOutcome outcome = RunNestorctl(
      "apply -f - --insecure --server unix:/no/such/socket 2>&1 <<'END'\n"
      "kind: Host\nname: h\nspec: {cordonned: true}\nEND\n");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out,
            "error: <stdin>:3:8: unknown key \"cordonned\"; did you mean \"cordoned\"?\n");
}

TEST(Nestorctl, OutputThatCannotBeWrittenIsAFailure) {
  EXPECT_EQ(RunNestorctl("version 2>/dev/null >/dev/full").exit_code, 1);
}

}  // namespace
}  // namespace nestor::cli
