#include "tests/testing/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace nestor::testing {
namespace {

// Beside the test's own binary.
std::string BinDirectory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

// Whether `fd` became readable in time.
bool WaitReadable(int fd, absl::Duration timeout) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) > 0;
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = "/tmp/nestor-test-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) abort();
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Process::Process(const std::string& program, std::vector<std::string> arguments,
                 const std::string& log_path) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) abort();
  const std::string path = program.front() == '/' ? program : BinDirectory() + "/" + program;
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    // Only async-signal-safe calls: the test may have threads.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(path.c_str(), argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  stdin_ = in[1];
  stdout_ = out[0];
}

Process::~Process() {
  Kill();
  close(stdin_);
  close(stdout_);
}

void Process::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

absl::StatusOr<int> Process::Wait(absl::Duration timeout) {
  if (pid_ <= 0) return absl::FailedPreconditionError("it has ended already");
  // A pidfd becomes readable when the process ends: nothing is polled in a loop.
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  const bool ended = pidfd < 0 || WaitReadable(pidfd, timeout);
  if (pidfd >= 0) close(pidfd);
  if (!ended) return absl::DeadlineExceededError("it still runs");
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Process::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(std::exchange(pid_, -1), nullptr, 0);
}

absl::StatusOr<std::string> Process::Ask(const std::string& line, absl::Duration timeout) {
  const std::string text = line + "\n";
  if (write(stdin_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return absl::UnavailableError("it no longer reads its stdin");
  }
  return ReadLine(timeout);
}

absl::StatusOr<std::string> Process::ReadLine(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    if (const size_t end = buffered_.find('\n'); end != std::string::npos) {
      std::string line = buffered_.substr(0, end);
      buffered_.erase(0, end + 1);
      return line;
    }
    if (!WaitReadable(stdout_, std::max(deadline - absl::Now(), absl::ZeroDuration()))) {
      return absl::DeadlineExceededError("no line of output in time");
    }
    std::array<char, 4096> chunk{};
    const ssize_t size = read(stdout_, chunk.data(), chunk.size());
    if (size <= 0) return absl::UnavailableError("it closed its stdout");
    buffered_.append(chunk.data(), static_cast<size_t>(size));
  }
}

std::string Process::ReadAll() {
  std::array<char, 4096> chunk{};
  for (ssize_t size; (size = read(stdout_, chunk.data(), chunk.size())) > 0;) {
    buffered_.append(chunk.data(), static_cast<size_t>(size));
  }
  return std::exchange(buffered_, "");
}

}  // namespace nestor::testing
