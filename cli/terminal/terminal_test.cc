// What a person sees: nestorctl in a real terminal, against the fake server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/commands/fake_server.h"
#include "cli/terminal/test_terminal.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class TerminalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!TestTerminal::Available()) GTEST_SKIP() << "there is no tmux";
  }

  void Open(int columns) {
    terminal_.emplace(columns);
    terminal_->Enter(absl::StrCat("export NESTOR_INSECURE=true NESTOR_PROJECT=demo; ",
                                  "export NESTOR_SERVER=", fake_.address(), "; clear; echo ready"));
    ASSERT_NE(terminal_->WaitFor("ready\n"), "");
  }

  FakeServer fake_;
  std::optional<TestTerminal> terminal_;
};

v1::WatchResponse Synced() {
  v1::WatchResponse synced;
  synced.set_type(v1::WatchResponse::TYPE_SYNCED);
  return synced;
}

TEST_F(TerminalTest, ProgressIsOneLineThatIsRedrawn) {
  Open(80);
  fake_.watch.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED)),
                           Put(Binding(2, v1::PasidBindingStatus::STATE_ACCEPTED)),
                           Put(Binding(2, v1::PasidBindingStatus::STATE_PROGRAMMED))},
                          std::nullopt}};
  terminal_->Enter("nestorctl wait web-1/sva-1 web-1/sva-2; echo code=$?");
  const std::string screen = terminal_->WaitFor("\ncode=0\n");
  EXPECT_THAT(screen, HasSubstr("\n2/2 programmed, "));
  EXPECT_THAT(screen, HasSubstr(" [##############################]\ncode=0\n"));
  EXPECT_THAT(screen, Not(HasSubstr("1/2")));
}

TEST_F(TerminalTest, ProgressFitsANarrowWindow) {
  Open(40);
  fake_.watch.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_PROGRAMMED)),
                           Put(Binding(2, v1::PasidBindingStatus::STATE_ACCEPTED)),
                           Put(Binding(2, v1::PasidBindingStatus::STATE_PROGRAMMED))},
                          std::nullopt}};
  terminal_->Enter("clear; nestorctl wait web-1/sva-1 web-1/sva-2; echo code=$?");
  const std::string screen = terminal_->WaitFor("\ncode=0\n");
  // The bar is cut off at the edge, and the states before it left nothing behind.
  const std::vector<std::string> lines = absl::StrSplit(screen, '\n');
  EXPECT_THAT(lines[0], ::testing::StartsWith("2/2 programmed, "));
  EXPECT_THAT(lines[0], SizeIs(40));
  EXPECT_EQ(lines[1], "code=0");
}

TEST_F(TerminalTest, ApplyShowsEachResultAndLeavesNoBarBehind) {
  Open(100);
  terminal_->Enter(
      "clear; printf 'kind: Host\\nname: a\\n---\\nkind: Host\\nname: b\\n' | "
      "nestorctl apply -f -; echo code=$?");
  EXPECT_THAT(terminal_->WaitFor("\ncode=0\n"),
              HasSubstr("host a: created\nhost b: created\n"
                        "created: 2 updated: 0 deleted: 0 unchanged: 0 (revision 5)\ncode=0\n"));
}

TEST_F(TerminalTest, InterruptedWatchEndsWithTheCodeOfTheSignal) {
  Open(100);
  fake_.watch.streams = {
      {{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED)), Synced()}, std::nullopt}};
  terminal_->Enter("clear; nestorctl watch bindings");
  EXPECT_NE(terminal_->WaitFor("demo/web-1/sva-1"), "");
  terminal_->Press("C-c");
  terminal_->WaitFor("\n$");
  terminal_->Enter("echo code=$?");
  const std::string screen = terminal_->WaitFor("\ncode=130\n");
  EXPECT_NE(screen, "") << terminal_->Screen();
  EXPECT_THAT(screen, Not(HasSubstr("error")));
}

TEST_F(TerminalTest, InterruptedWaitLeavesTheShellAtTheBeginningOfALine) {
  Open(100);
  fake_.watch.streams = {{{Put(Binding(1, v1::PasidBindingStatus::STATE_ACCEPTED))}, std::nullopt}};
  terminal_->Enter("clear; nestorctl wait web-1/sva-1");
  EXPECT_NE(terminal_->WaitFor("0/1 programmed"), "");
  terminal_->Press("C-c");
  EXPECT_NE(terminal_->WaitFor("\n$"), "") << terminal_->Screen();
  terminal_->Enter("echo code=$?");
  EXPECT_NE(terminal_->WaitFor("\ncode=130\n"), "") << terminal_->Screen();
}

TEST_F(TerminalTest, ColumnsOfATableLineUp) {
  Open(100);
  terminal_->Enter("clear; nestorctl get hosts; echo code=$?");
  const std::vector<std::string> lines = absl::StrSplit(terminal_->WaitFor("\ncode=0\n"), '\n');
  ASSERT_THAT(lines, SizeIs(::testing::Ge(3)));
  EXPECT_EQ(lines[0], "NAME     STATE   CORDONED   ORPHANS   LAST SEEN   AGE");
  EXPECT_EQ(lines[1], "host-a   -       no         0         -           -");
  EXPECT_EQ(lines[2], "host-b   -       no         0         -           -");
}

TEST_F(TerminalTest, ReaderThatLeavesIsNoError) {
  Open(100);
  fake_.bindings.generated = 20'000;
  terminal_->Enter("clear; nestorctl get bindings | head -1; echo codes=${PIPESTATUS[*]}");
  const std::vector<std::string> lines =
      absl::StrSplit(terminal_->WaitFor("\ncodes=141 0\n"), '\n');
  ASSERT_THAT(lines, SizeIs(::testing::Ge(2)));
  EXPECT_THAT(lines[0], HasSubstr("NAME"));
  EXPECT_EQ(lines[1], "codes=141 0");
}

TEST_F(TerminalTest, TabCompletesInBash) {
  Open(100);
  terminal_->Enter("source <(nestorctl completion bash); clear; echo loaded");
  EXPECT_NE(terminal_->WaitFor("loaded\n"), "");
  terminal_->Enter("nestorctl compl\t ba\t\t");
  EXPECT_NE(terminal_->WaitFor("complete -F _nestorctl nestorctl"), "") << terminal_->Screen();
}

}  // namespace
}  // namespace nestor::cli
