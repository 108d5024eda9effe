// A real terminal for tests: a tmux server of its own, with one window and a shell in it.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "tests/testing/process.h"

namespace nestor::cli {

class TestTerminal {
 public:
  // Whether there is a tmux to run.
  static bool Available();

  // Opens a window of `columns` x 24 with a bash whose prompt is "$", and waits for the
  // prompt. build/PRESET/bin is in PATH.
  explicit TestTerminal(int columns);
  ~TestTerminal();
  TestTerminal(const TestTerminal&) = delete;
  TestTerminal& operator=(const TestTerminal&) = delete;

  // Types `text` and presses Enter.
  void Enter(const std::string& text);
  // Presses one key by tmux's name for it: "C-c", "Tab".
  void Press(const std::string& key);

  // What the window shows, trailing spaces cut off.
  std::string Screen() const;
  // Waits until the window shows `text`, and returns the whole screen; empty where it does not
  // come in time.
  std::string WaitFor(const std::string& text, absl::Duration timeout = absl::Seconds(20)) const;

 private:
  // Runs one tmux command; its output.
  std::string Tmux(const std::string& arguments) const;

  testing::TemporaryDirectory directory_;
};

}  // namespace nestor::cli
