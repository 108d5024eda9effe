// The end of a unary call that is answered later, from another thread.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/support/grpc_status.h"

namespace nestor::agent {

// Answers once: with what Reply is given first, or CANCELLED when the client has gone by
// then. Whoever may answer shares it; gRPC's part of it ends with the call. Thread-safe.
template <typename Response>
class UnaryReply : public grpc::ServerUnaryReactor,
                   public std::enable_shared_from_this<UnaryReply<Response>> {
 public:
  // `response` is gRPC's, which lives until the answer.
  static std::shared_ptr<UnaryReply> Make(Response* response) {
    auto reply = std::shared_ptr<UnaryReply>(new UnaryReply(response));
    reply->self_ = reply;
    return reply;
  }

  void Reply(absl::StatusOr<Response> outcome) {
    if (answered_.exchange(true)) return;
    if (outcome.ok()) *response_ = *std::move(outcome);
    this->Finish(ToGrpcStatus(outcome.status()));
  }

  void OnCancel() override { Reply(absl::CancelledError("the client has gone")); }
  void OnDone() override { self_.reset(); }

 private:
  explicit UnaryReply(Response* response) : response_(response) {}

  Response* const response_;
  std::atomic<bool> answered_ = false;
  std::shared_ptr<UnaryReply> self_;  // until OnDone
};

}  // namespace nestor::agent
