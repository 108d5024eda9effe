#include "cli/terminal/test_terminal.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "cli/test_shell.h"

namespace nestor::cli {
namespace {

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

}  // namespace

bool TestTerminal::Available() { return RunShell("command -v tmux").exit_code == 0; }

TestTerminal::TestTerminal(int columns) {
  // -f /dev/null: no settings of the person who runs the test.
  Tmux(absl::StrCat("-f /dev/null new-session -d -x ", columns,
                    " -y 24 \"env PS1='\\$ ' bash --norc --noprofile\""));
  WaitFor("$");
}

TestTerminal::~TestTerminal() { Tmux("kill-server"); }

void TestTerminal::Enter(const std::string& text) {
  Tmux(absl::StrCat("send-keys -l -- ", Quoted(text)));
  Press("Enter");
}

void TestTerminal::Press(const std::string& key) { Tmux("send-keys " + key); }

std::string TestTerminal::Screen() const { return Tmux("capture-pane -p"); }

std::string TestTerminal::WaitFor(const std::string& text, absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  do {
    std::string screen = Screen();
    if (absl::StrContains(screen, text)) return screen;
    // A terminal tells nobody when it has drawn.
    absl::SleepFor(absl::Milliseconds(20));
  } while (absl::Now() < deadline);
  return "";
}

std::string TestTerminal::Tmux(const std::string& arguments) const {
  return RunShell(absl::StrCat("unset TMUX; export LC_ALL=C.UTF-8; tmux -S ", directory_.path(),
                               "/tmux ", arguments, " 2>/dev/null"))
      .out;
}

}  // namespace nestor::cli
