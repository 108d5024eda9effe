#include "agent/shim/shim_command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "api/support/file_descriptor.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr char kSocketEnding[] = ".sock";
// Of what a failed command printed, as much goes into the error.
constexpr size_t kMaxOutput = 1024;

bool IsUid(absl::string_view uid) {
  return !uid.empty() && std::all_of(uid.begin(), uid.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-';
  });
}

std::vector<std::string> ShimArguments(const ShimSetup& setup, const ShimTarget& target,
                                       const std::string& socket) {
  std::vector<std::string> arguments = {
      "--vm",        target.vm_name,         "--uid",    target.vm_uid, "--listen", socket,
      "--vmm-dir",   setup.run_dir + "/vmm", "--kernel", setup.kernel,  "--iommu",  setup.iommu,
      "--log-level", setup.log_level};
  if (target.after_loss) arguments.push_back("--after-loss");
  return arguments;
}

// FNV-1a, 64 bits: tells one build from another; it keeps nobody out, the directory does.
uint64_t HashOf(absl::string_view content) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Takes what `command` prints until it ends, or the deadline passes (false).
bool ReadOutput(int fd, absl::Time deadline, std::string* output) {
  std::array<char, 512> buffer;
  while (true) {
    pollfd waited = {fd, POLLIN, 0};
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    if (poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) <= 0) continue;
    const ssize_t bytes = read(fd, buffer.data(), buffer.size());
    if (bytes <= 0) return true;
    const size_t room = kMaxOutput - output->size();
    output->append(buffer.data(), std::min(static_cast<size_t>(bytes), room));
  }
}

// Starts a command with its output on `output`, and signals as at a program's start.
absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  pid_t pid = -1;
  const int error =
      posix_spawnp(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("cannot run ", command[0]));
  return pid;
}

}  // namespace

absl::StatusOr<std::string> ShimSocketPath(const std::string& run_dir, const std::string& vm_uid) {
  if (!IsUid(vm_uid)) {
    return absl::InvalidArgumentError(
        "the uid of a virtual machine has letters, digits and dashes");
  }
  return absl::StrCat(run_dir, "/shims/", vm_uid, kSocketEnding);
}

std::string VmUidOf(const std::string& file_name) {
  absl::string_view uid = file_name;
  return absl::ConsumeSuffix(&uid, kSocketEnding) && IsUid(uid) ? std::string(uid) : "";
}

std::vector<std::string> ForkCommand(const ShimSetup& setup, const ShimTarget& target,
                                     const std::string& socket) {
  std::vector<std::string> command = {setup.program};
  const std::vector<std::string> arguments = ShimArguments(setup, target, socket);
  command.insert(command.end(), arguments.begin(), arguments.end());
  command.push_back("--detach");
  return command;
}

std::vector<std::string> SystemdCommand(const ShimSetup& setup, const ShimTarget& target,
                                        const std::string& socket) {
  std::vector<std::string> command = {"systemd-run", "--quiet",
                                      // A unit that failed must not keep its name.
                                      "--collect", "--unit=nestor-shim-" + target.vm_uid,
                                      "--description=Nestor: owner of " + target.vm_name,
                                      "--service-type=notify", "--property=LimitMEMLOCK=infinity",
                                      "--property=OOMScoreAdjust=-999", "--", setup.program};
  const std::vector<std::string> arguments = ShimArguments(setup, target, socket);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

absl::StatusOr<std::string> CopyUnderContentHash(const std::string& program,
                                                 const std::string& directory) {
  std::ifstream file(program, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || content.empty()) {
    return absl::NotFoundError(absl::StrCat("cannot read ", program));
  }
  const std::string path = absl::StrFormat("%s/nestor-shim-%016x", directory, HashOf(content));
  if (std::filesystem::exists(path)) return path;
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const std::string unfinished = path + ".new";
  std::ofstream copy(unfinished, std::ios::binary | std::ios::trunc);
  copy << content;
  copy.close();
  if (!copy || chmod(unfinished.c_str(), 0755) != 0 ||
      rename(unfinished.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
  }
  return path;
}

absl::Status RunCommand(const std::vector<std::string>& command, absl::Duration patience) {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const FileDescriptor reading(ends[0]);
  FileDescriptor writing(ends[1]);
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(command, writing.get()));
  writing = FileDescriptor();
  std::string output;
  const bool ended = ReadOutput(reading.get(), absl::Now() + patience, &output);
  if (!ended) kill(pid, SIGKILL);
  int result = 0;
  while (waitpid(pid, &result, 0) < 0 && errno == EINTR) {
  }
  const std::string what = absl::StrJoin(command, " ");
  if (!ended) return absl::DeadlineExceededError(absl::StrCat(what, " did not end in time"));
  if (WIFEXITED(result) && WEXITSTATUS(result) == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(what, " failed: ", absl::StripTrailingAsciiWhitespace(output)));
}

}  // namespace nestor::agent
