// The one way a unary call of a client goes: who calls, validate, read or mutate, reply; each
// absl::Status becomes a gRPC status here.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "api/support/log.h"
#include "api/support/status_macros.h"
#include "server/core/decision.h"
#include "server/core/validation.h"
#include "server/reconcile/cluster_state.h"
#include "server/service/caller.h"

namespace nestor::server {

inline grpc::ServerUnaryReactor* FinishCall(grpc::CallbackServerContext* context,
                                            const absl::Status& status) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Whether the call may be answered: who calls is checked before what is asked.
template <typename Request>
absl::Status CheckCall(const grpc::CallbackServerContext& context, const Request& request) {
  RETURN_IF_ERROR(CheckClient(CallerOf(*context.auth_context())));
  return Validate(request);
}

// `read` is absl::StatusOr<Response>(const View&).
template <typename Request, typename Response, typename Read>
grpc::ServerUnaryReactor* ReadCall(grpc::CallbackServerContext* context, ClusterState& state,
                                   const Request& request, Response* response, Read read) {
  absl::Status status = CheckCall(*context, request);
  if (status.ok()) {
    state.Read([&](const View& view) {
      auto result = read(view);
      status = result.status();
      if (result.ok()) *response = *std::move(result);
    });
  }
  return FinishCall(context, status);
}

// What became of a mutation, for whoever looks into one client's trouble (--log-level debug).
template <typename Request>
void LogMutation(const grpc::CallbackServerContext& context, const Request& request,
                 const absl::Status& status) {
  if (!spdlog::should_log(spdlog::level::debug)) return;
  log::Debug({{"caller", CallerOf(*context.auth_context()).name},
              {"request_id", request.request_id()},
              {"error", ErrorReason(status)}},
             "{}: {}", Request::descriptor()->name(), log::Text(status));
}

// How the request is to be mutated; request_ids are told apart by `scope`.
template <typename Request>
ClusterState::MutateOptions OptionsOf(absl::string_view scope, const Request& request) {
  ClusterState::MutateOptions options;
  options.validate_only = request.validate_only();
  if (request.request_id().empty()) return options;
  Request without_id = request;
  without_id.clear_request_id();
  options.request_id = request.request_id();
  options.scope = std::string(scope);
  options.request_hash = Fingerprint(without_id);
  return options;
}

// Ends a mutation's call with its reply, or with why there is none.
template <typename Response>
void FinishMutation(const absl::StatusOr<Applied>& applied, Response* response,
                    grpc::ServerUnaryReactor* reactor) {
  if (applied.ok()) response->GetReflection()->Swap(response, applied->reply.get());
  reactor->Finish(ToGrpcStatus(applied.status()));
}

// A mutation; request_ids are told apart by `scope`. Cancellation and deadline count until the
// commit begins, never after.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* MutateCall(grpc::CallbackServerContext* context, ClusterState& state,
                                     absl::string_view scope, const Request& request,
                                     Response* response, const ClusterState::Decide& decide) {
  if (absl::Status status = CheckCall(*context, request); !status.ok()) {
    return FinishCall(context, status);
  }
  if (context->IsCancelled()) return FinishCall(context, absl::CancelledError("cancelled"));
  auto* reactor = context->DefaultReactor();
  state.Mutate(decide, OptionsOf(scope, request),
               [context, reactor, response, &request](absl::StatusOr<Applied> applied) {
                 LogMutation(*context, request, applied.status());
                 FinishMutation(applied, response, reactor);
               });
  return reactor;
}

}  // namespace nestor::server
