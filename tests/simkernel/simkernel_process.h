// A running nestor-simkernel, and child processes of the test that are its clients.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/simkernel/remote_syscalls.h"
#include "tests/testing/process.h"

namespace nestor::testing {

// With two devices, and `options` beside. The test fails where it does not start.
class SimkernelProcess {
 public:
  explicit SimkernelProcess(const std::vector<std::string>& options = {});

  std::string socket() const { return directory_.path() + "/sim.sock"; }
  std::unique_ptr<kernel::RemoteSyscalls> Connect() const;
  // What it holds: `name` is a field of its status.
  int Count(const std::string& name) const;
  Process& process() { return process_; }

 private:
  TemporaryDirectory directory_;
  Process process_;
};

// A fork of the test: it has what the test had open, runs `body` and then does nothing until it
// is killed. The constructor returns once `body` has.
class ForkedChild {
 public:
  explicit ForkedChild(const std::function<void()>& body);
  // Kills it.
  ~ForkedChild();
  ForkedChild(const ForkedChild&) = delete;
  ForkedChild& operator=(const ForkedChild&) = delete;

  pid_t pid() const { return pid_; }
  // kill -9, and waits for its end.
  void Kill();

 private:
  pid_t pid_ = -1;
};

}  // namespace nestor::testing
