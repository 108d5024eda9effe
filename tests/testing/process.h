// A child process of a test, and a directory that goes with the test.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nestor::testing {

// A fresh directory, removed with everything in it at the end. Short enough a path for unix
// sockets.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Runs a program from the build's bin directory, or by its absolute path; killed when destroyed,
// and by the kernel should the test die first. Its stderr goes to `log_path`. Not thread-safe.
class Process {
 public:
  Process(const std::string& program, std::vector<std::string> arguments,
          const std::string& log_path);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Sends `signal`.
  void Signal(int signal);
  // Waits for the end: the exit code, or 128 + signal. DEADLINE_EXCEEDED: it still runs.
  absl::StatusOr<int> Wait(absl::Duration timeout);
  // kill -9 and wait.
  void Kill();

  // Writes `line` to its stdin and reads one line of its stdout. DEADLINE_EXCEEDED, or
  // UNAVAILABLE when it ended.
  absl::StatusOr<std::string> Ask(const std::string& line, absl::Duration timeout);
  // Reads one line of its stdout.
  absl::StatusOr<std::string> ReadLine(absl::Duration timeout);
  // Reads stdout to its end.
  std::string ReadAll();

 private:
  pid_t pid_ = -1;
  int stdin_ = -1;
  int stdout_ = -1;
  std::string buffered_;
};

}  // namespace nestor::testing
