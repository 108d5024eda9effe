// The completion scripts, run by their shells.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/test_shell.h"

namespace nestor::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// What bash offers when the words are typed; the last one is completed.
std::vector<std::string> Bash(const std::string& words) {
  const ShellOutcome outcome =
      RunShell(absl::StrCat("source <(nestorctl completion bash) && COMP_WORDS=(nestorctl ", words,
                            ") && COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) && _nestorctl && "
                            "printf \"%s\\n\" \"${COMPREPLY[@]}\""));
  EXPECT_EQ(outcome.exit_code, 0) << words;
  return Lines(outcome.out);
}

bool HasShell(const std::string& shell) {
  return RunShell(absl::StrCat("command -v ", shell)).exit_code == 0;
}

TEST(BashCompletion, OffersTheCommands) {
  EXPECT_THAT(Bash("de"), UnorderedElementsAre("describe", "delete"));
  EXPECT_THAT(Bash("\"\""), IsSupersetOf({"apply", "bind", "completion", "watch"}));
}

TEST(BashCompletion, OffersTheOptionsOfTheCommandAndTheGlobalOnes) {
  EXPECT_THAT(Bash("get --s"), UnorderedElementsAre("--server", "--state"));
  EXPECT_THAT(Bash("apply --s"), ElementsAre("--server"));
  EXPECT_THAT(Bash("bind web-1/a --a"),
              UnorderedElementsAre("--address-width", "--any-of", "--allow-translation-gap"));
}

TEST(BashCompletion, OffersTheValuesOfOptions) {
  EXPECT_THAT(Bash("get hosts -o \"\""), UnorderedElementsAre("table", "wide", "json", "yaml"));
  EXPECT_THAT(Bash("get hosts --output = j"), ElementsAre("json"));
  EXPECT_THAT(Bash("get hosts --output ="), UnorderedElementsAre("table", "wide", "json", "yaml"));
  EXPECT_THAT(Bash("wait web-1 --for a"), ElementsAre("absent"));
  EXPECT_THAT(Bash("get bindings --state prog"), ElementsAre("programmed"));
}

TEST(BashCompletion, OffersNothingWhereOnlyTheUserKnows) {
  EXPECT_THAT(Bash("get hosts --server \"\""), IsEmpty());
  EXPECT_THAT(Bash("explain \"\""), IsEmpty());
}

TEST(BashCompletion, CountsArgumentsButNotOptionsAndTheirValues) {
  EXPECT_THAT(Bash("get h"), ElementsAre("hosts"));
  EXPECT_THAT(Bash("--project demo -o json get -A h"), ElementsAre("hosts"));
  EXPECT_THAT(Bash("get hosts h"), IsEmpty());
  EXPECT_THAT(Bash("watch hosts v"), ElementsAre("vms"));
}

TEST(BashCompletion, OffersFilesForManifests) {
  EXPECT_THAT(Bash("apply -f /etc/host"), Contains("/etc/hosts"));
}

TEST(ZshCompletion, IsWellFormedAndNamesEachCommand) {
  const ShellOutcome script = RunShell("nestorctl completion zsh");
  EXPECT_THAT(script.out, ::testing::StartsWith("#compdef nestorctl\n"));
  EXPECT_THAT(script.out, ::testing::HasSubstr("'1:argument:(hosts devices vms bindings)'"));
  if (!HasShell("zsh")) GTEST_SKIP() << "there is no zsh";
  EXPECT_EQ(RunShell("nestorctl completion zsh | zsh -n").exit_code, 0);
  const ShellOutcome loaded = RunShell(
      "nestorctl completion zsh > >(zsh -c \"autoload -Uz compinit; compinit -D; "
      "source /dev/stdin; print \\$_comps[nestorctl]\"); wait $!");
  EXPECT_EQ(loaded.out, "_nestorctl\n");
}

TEST(FishCompletion, OffersCommandsArgumentsAndValues) {
  if (!HasShell("fish")) GTEST_SKIP() << "there is no fish";
  auto fish = [](const std::string& line) {
    return Lines(RunShell(absl::StrCat("HOME=/nonexistent fish -c \"nestorctl completion fish | "
                                       "source; complete -C \\\"nestorctl ",
                                       line, "\\\"\" 2>/dev/null | cut -f1"))
                     .out);
  };
  EXPECT_THAT(fish("de"), UnorderedElementsAre("describe", "delete"));
  EXPECT_THAT(fish("get "), UnorderedElementsAre("hosts", "devices", "vms", "bindings"));
  EXPECT_THAT(fish("get hosts "), Not(Contains("vms")));
  EXPECT_THAT(fish("get hosts -o j"), ElementsAre("json"));
}

}  // namespace
}  // namespace nestor::cli
