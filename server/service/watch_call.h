// One Watch stream.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nestor/v1/watch_service.pb.h"
#include "server/reconcile/watch_history.h"
#include "server/service/caller.h"
#include "server/service/parked_calls.h"

namespace nestor::server {

// Snapshot (or resume), then changes. Each message is made when it is written, one write at a
// time, from a place in the view and a place in the history: a slow reader holds nothing up
// and costs no memory. Keeps itself until gRPC is done with it.
class WatchCall final : public grpc::ServerWriteReactor<v1::WatchResponse> {
 public:
  struct Sources {
    ClusterState& state;
    const WatchHistory& history;
    ParkedCalls& parked;
    absl::Duration bookmark_interval;
  };

  static WatchCall* Start(const Sources& sources, const Caller& caller,
                          const v1::WatchRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  WatchCall(const Sources& sources, v1::WatchRequest request)
      : sources_(sources), request_(std::move(request)) {}

  absl::Status Begin(const Caller& caller);
  bool WantsKind(ResourceKind kind) const;
  // Writes the next message if there is one and no write is in flight.
  void Advance();
  // Each fills `message_`; false: there is nothing to write now.
  absl::StatusOr<bool> NextMessage();
  bool NextOfSnapshot(const View& view);
  absl::StatusOr<bool> NextChange();
  bool Render(const View& view, ResourceKind kind, absl::string_view name);
  void ArmBookmark();
  void End(const absl::Status& status);

  const Sources sources_;
  const v1::WatchRequest request_;
  std::shared_ptr<WatchCall> self_;
  int64_t ticket_ = 0;
  std::unique_ptr<StateSubscription> subscription_;

  std::mutex mutex_;
  v1::WatchResponse message_;
  bool begun_ = false;
  bool writing_ = false;
  bool finished_ = false;
  bool bookmark_due_ = false;
  // The snapshot: kinds in order, each by name; done when `synced_`.
  bool synced_ = false;
  ResourceKind snapshot_kind_ = ResourceKind::kHost;
  std::string snapshot_name_;      // the last one written of that kind
  int64_t shown_by_snapshot_ = 0;  // changes up to this revision need not be told
  int64_t sequence_ = 0;           // of the next change
  WatchPosition position_;         // after the last message
  std::unique_ptr<grpc::Alarm> alarm_;
};

}  // namespace nestor::server
