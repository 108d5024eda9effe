// The line between an agent and its server, by a program that passes bytes on and can be cut and
// stopped.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/testing/process.h"

namespace nestor::chaos {

// Passes connections to the unix socket `listen_path` on to the one at `server_path`, by socat.
// Not thread-safe.
class AgentLine {
 public:
  AgentLine(std::string listen_path, std::string server_path, std::string log_path);
  ~AgentLine();

  std::string address() const { return "unix:" + listen_path_; }
  // Ends all connections; until Mend, none can be made.
  void Cut();
  // Once Cut.
  void Mend();
  // Nothing passes in either direction, and no end is told; until Resume.
  void Stall();
  void Resume();

 private:
  void SignalAll(int signal);

  const std::string listen_path_;
  const std::string server_path_;
  const std::string log_path_;
  std::unique_ptr<testing::Process> socat_;
};

}  // namespace nestor::chaos
