// How a program is asked to stop.
#pragma once

#include <csignal>
#include <string>

namespace nestor {

// SIGTERM and SIGINT, kept back for Wait; SIGPIPE is ignored. Made in main before any thread
// starts, since a thread takes over the signal mask of the one that made it.
class StopSignal {
 public:
  StopSignal();
  // Blocks until the program is asked to stop; the signal's name for the log.
  std::string Wait() const;

 private:
  sigset_t signals_;
};

}  // namespace nestor
