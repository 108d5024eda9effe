#include "tests/chaos/agent_line.h"

#include <signal.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace nestor::chaos {

AgentLine::AgentLine(std::string listen_path, std::string server_path, std::string log_path)
    : listen_path_(std::move(listen_path)),
      server_path_(std::move(server_path)),
      log_path_(std::move(log_path)) {
  Mend();
}

AgentLine::~AgentLine() { Cut(); }

void AgentLine::Cut() {
  if (socat_ == nullptr) return;
  SignalAll(SIGKILL);
  socat_.reset();
}

void AgentLine::Mend() {
  // A session of its own: each connection is a process, and all are signalled as one group.
  socat_ = std::make_unique<testing::Process>(
      "/usr/bin/setsid",
      std::vector<std::string>{"/usr/bin/socat",
                               absl::StrCat("UNIX-LISTEN:", listen_path_, ",fork,unlink-early"),
                               absl::StrCat("UNIX-CONNECT:", server_path_)},
      log_path_);
}

void AgentLine::Stall() { SignalAll(SIGSTOP); }

void AgentLine::Resume() { SignalAll(SIGCONT); }

void AgentLine::SignalAll(int signal) {
  // Before setsid has run, there is no such group yet.
  if (kill(-socat_->pid(), signal) != 0) socat_->Signal(signal);
}

}  // namespace nestor::chaos
