// The invalidations that a session has asked of its agent and that have no answer yet.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::server {

// Not thread-safe.
class Invalidations {
 public:
  // Of one host. One machine's owner takes fewer, so that a machine whose kernel calls hang
  // leaves room for the others.
  static constexpr size_t kMaxInFlight = 256;
  // Called once; must be quick.
  using Done = std::function<void(absl::Status)>;

  // Returns the id under which the agent answers for `binding`. QUEUE_FULL, `done` then
  // called with it as well.
  absl::StatusOr<int64_t> Add(const std::string& binding, Done done);
  // INVALID_ARGUMENT PROTOCOL_ERROR: none of that id is asked for.
  absl::Status Answer(const v1::InvalidationResult& result);
  // Whoever waits is told `status`.
  void EndAll(const absl::Status& status);

 private:
  struct Waiting {
    std::string binding;
    Done done;
  };
  int64_t last_id_ = 0;
  std::map<int64_t, Waiting> waiting_;  // by id
};

}  // namespace nestor::server
