// What the agent changed on the host to prepare devices, so that it can be undone: also by the
// agent that follows one which died halfway.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// How a function was before it was touched.
struct HostDriver {
  std::string driver;    // that it was bound to; empty: none
  std::string override;  // its driver_override; empty: none
  bool operator==(const HostDriver&) const = default;
};

// One small text file a function, in a directory of their own. What is in it is synced before
// a call returns. Drivers and overrides do not survive a boot, and neither does what was
// recorded under another boot_id. Not thread-safe.
class PreparationRecord {
 public:
  // Opens the directory, making it where it is missing, and reads what is there.
  // FAILED_PRECONDITION: it cannot be made or read. DATA_LOSS: a file holds something else.
  static absl::StatusOr<PreparationRecord> Open(const std::string& directory,
                                                const std::string& boot_id);

  const std::map<Bdf, HostDriver>& entries() const { return entries_; }
  // Adds or replaces. INTERNAL: not written; what was there before is as it was.
  absl::Status Put(const Bdf& device, const HostDriver& before);
  // Ignored where there is none.
  absl::Status Remove(const Bdf& device);

 private:
  PreparationRecord(std::string directory, std::string boot_id);
  std::string PathOf(const Bdf& device) const;
  absl::Status ReadAll();
  absl::Status ReadEntry(const Bdf& device);

  std::string directory_;
  std::string boot_id_;
  std::map<Bdf, HostDriver> entries_;
};

}  // namespace nestor::agent
