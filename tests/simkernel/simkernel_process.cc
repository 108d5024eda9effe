#include "tests/simkernel/simkernel_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace nestor::testing {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

std::vector<std::string> Arguments(const std::string& socket,
                                   const std::vector<std::string>& options) {
  std::vector<std::string> arguments = {"--listen", "unix:" + socket, "--devices", "2"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return arguments;
}

}  // namespace

SimkernelProcess::SimkernelProcess(const std::vector<std::string>& options)
    : process_("nestor-simkernel", Arguments(socket(), options),
               directory_.path() + "/simkernel.log") {
  // It logs a line when it listens.
  const absl::StatusOr<std::string> ready = process_.ReadLine(kPatience);
  EXPECT_TRUE(ready.ok()) << ready.status();
}

std::unique_ptr<kernel::RemoteSyscalls> SimkernelProcess::Connect() const {
  return *kernel::RemoteSyscalls::Connect(socket());
}

int SimkernelProcess::Count(const std::string& name) const {
  const std::string status = *Connect()->Status();
  const std::string key = absl::StrCat("\"", name, "\": ");
  const size_t at = status.find(key);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no " << name << " in " << status;
    return -1;
  }
  return std::atoi(status.c_str() + at + key.size());
}

ForkedChild::ForkedChild(const std::function<void()>& body) {
  int done[2];
  if (pipe2(done, O_CLOEXEC) != 0) abort();
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(done[0]);
    body();
    close(done[1]);
    while (true) pause();
  }
  close(done[1]);
  char byte;
  static_cast<void>(read(done[0], &byte, 1));  // its end comes when `body` is done
  close(done[0]);
}

ForkedChild::~ForkedChild() { Kill(); }

void ForkedChild::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(std::exchange(pid_, -1), nullptr, 0);
}

}  // namespace nestor::testing
