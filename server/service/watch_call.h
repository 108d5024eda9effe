// One Watch stream.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nestor/v1/watch_service.pb.h"
#include "server/reconcile/watch_history.h"
#include "server/service/parked_calls.h"

namespace nestor::server {

// Snapshot (or resume), then changes, each rendered when it is written, one write at a time.
// Keeps itself until gRPC is done with it.
class WatchCall final : public grpc::ServerWriteReactor<v1::WatchResponse> {
 public:
  static WatchCall* Start(ClusterState& state, const WatchHistory& history, ParkedCalls& parked,
                          const v1::WatchRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  WatchCall(ClusterState& state, const WatchHistory& history, ParkedCalls& parked,
            v1::WatchRequest request)
      : state_(state), history_(history), parked_(parked), request_(std::move(request)) {}

  absl::Status Prepare();
  void TakeSnapshot();
  bool Wants(ResourceKind resource, const std::string& name) const;
  // Writes the next message if there is one and no write is in flight.
  void Advance();
  // Fills `message_`; false: nothing to write now.
  absl::StatusOr<bool> NextMessage();
  bool Render(ResourceKind kind, const std::string& name);
  absl::StatusOr<bool> NextChange();
  void ArmBookmark();
  void End(const absl::Status& status);

  ClusterState& state_;
  const WatchHistory& history_;
  ParkedCalls& parked_;
  const v1::WatchRequest request_;
  std::shared_ptr<WatchCall> self_;
  int64_t ticket_ = 0;
  std::unique_ptr<StateSubscription> subscription_;

  std::mutex mutex_;
  v1::WatchResponse message_;
  bool writing_ = false;
  bool finished_ = false;
  bool bookmark_due_ = false;
  std::vector<std::pair<ResourceKind, std::string>> snapshot_;
  size_t snapshot_written_ = 0;
  bool synced_ = false;
  int64_t skip_through_ = 0;  // revisions that the snapshot already shows
  int64_t sequence_ = 0;
  WatchPosition position_;
  std::unique_ptr<grpc::Alarm> alarm_;
};

}  // namespace nestor::server
