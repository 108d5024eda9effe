// A guest whose device does DMA all the time.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "tests/testing/process.h"

namespace nestor::testing {

// Has a nestor-guest storm one PASID from a thread of its own until Stop. Thread-safe.
class DmaLoad {
 public:
  // `text`: what the guest's page table has there. `guest` must outlive this.
  DmaLoad(Process& guest, uint32_t pasid, const std::string& text);
  // Stops.
  ~DmaLoad();

  // Asks the guest something between two storms: its answer, or why there was none.
  std::string Ask(const std::string& line);
  // Idempotent.
  void Stop();

  int64_t dmas() const { return dmas_; }
  // DMAs that faulted or read something else, and storms that could not be.
  int64_t failures() const { return failures_; }

 private:
  void Run();

  Process& guest_;
  const std::string command_;
  std::mutex mutex_;  // one who speaks to the guest
  std::atomic<bool> stopped_ = false;
  std::atomic<int64_t> dmas_ = 0;
  std::atomic<int64_t> failures_ = 0;
  std::thread thread_;
};

}  // namespace nestor::testing
