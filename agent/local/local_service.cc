#include "agent/local/local_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/check/check_command.h"
#include "agent/core/kernel_error.h"
#include "agent/local/dma_test.h"
#include "agent/local/kernel_trace.h"
#include "agent/local/local_validation.h"
#include "agent/local/unary_reply.h"
#include "agent/shim/failure.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

absl::Status LocalService::CheckStandalone() const {
  return parts_.session == nullptr ? errors::NotStandalone() : absl::OkStatus();
}

grpc::ServerUnaryReactor* LocalService::CheckHost(grpc::CallbackServerContext*,
                                                  const v1::CheckHostRequest* request,
                                                  v1::CheckHostResponse* response) {
  auto reply = UnaryReply<v1::CheckHostResponse>::Make(response);
  if (absl::Status status = Validate(*request); !status.ok()) {
    reply->Reply(status);
  } else {
    kernel_work_.Post([this, reply, request = *request] { reply->Reply(CheckNow(request)); });
  }
  return reply.get();
}

absl::StatusOr<v1::CheckHostResponse> LocalService::CheckNow(const v1::CheckHostRequest& request) {
  const auto recording = StartTrace(parts_.syscalls, request.trace());
  CheckOptions options;
  options.selection.devices = {request.devices().begin(), request.devices().end()};
  options.selection.all = request.all();
  if (request.guest_memory_bytes() != 0) options.guest_memory = request.guest_memory_bytes();
  absl::StatusOr<v1::HostCheck> check = agent::CheckHost(parts_.syscalls, parts_.backend, options);
  if (GetReason(check.status()) == "NO_DEVICE") {
    return errors::NotFound(absl::StrJoin(request.devices(), " or "));
  }
  if (!check.ok()) return check.status();
  v1::CheckHostResponse response;
  *response.mutable_check() = *std::move(check);
  *response.mutable_trace() = ToKernelTrace(recording.get());
  return response;
}

grpc::ServerUnaryReactor* LocalService::Dump(grpc::CallbackServerContext*, const v1::DumpRequest*,
                                             v1::DumpResponse* response) {
  auto reply = UnaryReply<v1::DumpResponse>::Make(response);
  // On the loop, so that it is seen in order with what binds and unbinds.
  parts_.loop.Post([this, reply] { reply->Reply(DumpNow()); });
  return reply.get();
}

v1::DumpResponse LocalService::DumpNow() {
  v1::DumpResponse response;
  response.set_standalone(parts_.session != nullptr);
  response.set_simulated(parts_.simulated);
  for (const auto& shim : parts_.launcher.Running()) {
    *response.add_machines() = ToHeldState(shim->Inventory(), parts_.socket_of);
  }
  std::sort(response.mutable_machines()->begin(), response.mutable_machines()->end(),
            [](const auto& a, const auto& b) {
              return a.virtual_machine().name() < b.virtual_machine().name();
            });
  return response;
}

template <typename Request, typename Response>
grpc::ServerUnaryReactor* LocalService::AskSession(const Request& request, Response* response,
                                                   void (*ask)(LocalSession&, const Request&,
                                                               LocalSession::Done),
                                                   const Response& begun) {
  auto reply = UnaryReply<Response>::Make(response);
  absl::Status status = Validate(request);
  if (status.ok()) status = CheckStandalone();
  if (!status.ok()) {
    reply->Reply(status);
    return reply.get();
  }
  parts_.loop.Post([this, reply, request, ask, begun] {
    const auto recording = StartTrace(parts_.syscalls, request.trace());
    ask(*parts_.session, request, [reply, recording, begun](absl::StatusOr<v1::Result> result) {
      if (!result.ok()) return reply->Reply(result.status());
      Response done = begun;
      *done.mutable_result() = *std::move(result);
      *done.mutable_trace() = ToKernelTrace(recording.get());
      reply->Reply(std::move(done));
    });
  });
  return reply.get();
}

grpc::ServerUnaryReactor* LocalService::Bind(grpc::CallbackServerContext*,
                                             const v1::BindRequest* request,
                                             v1::BindResponse* response) {
  v1::BindResponse begun;
  begun.set_socket(parts_.socket_of(request->virtual_machine(), request->device()));
  return AskSession<v1::BindRequest>(
      *request, response,
      [](LocalSession& session, const v1::BindRequest& asked, LocalSession::Done done) {
        session.Bind(asked, std::move(done));
      },
      begun);
}

grpc::ServerUnaryReactor* LocalService::Unbind(grpc::CallbackServerContext*,
                                               const v1::UnbindRequest* request,
                                               v1::UnbindResponse* response) {
  return AskSession<v1::UnbindRequest>(
      *request, response,
      [](LocalSession& session, const v1::UnbindRequest& asked, LocalSession::Done done) {
        session.Unbind(asked, std::move(done));
      },
      v1::UnbindResponse());
}

grpc::ServerUnaryReactor* LocalService::Invalidate(grpc::CallbackServerContext*,
                                                   const v1::InvalidateRequest* request,
                                                   v1::InvalidateResponse* response) {
  auto reply = UnaryReply<v1::InvalidateResponse>::Make(response);
  absl::Status status = Validate(*request);
  const std::shared_ptr<Shim> shim = status.ok() ? ShimOf(request->device()) : nullptr;
  if (status.ok() && shim == nullptr) status = errors::NotFound(request->device());
  if (!status.ok()) {
    reply->Reply(status);
    return reply.get();
  }
  const auto recording = StartTrace(parts_.syscalls, request->trace());
  const std::string what = absl::StrCat("PASID ", request->pasid(), " of ", request->device());
  shim->Invalidate({request->device(), request->pasid()}, request->range().address(),
                   request->range().size(), [reply, recording, what](const absl::Status& outcome) {
                     if (!outcome.ok()) {
                       return reply->Reply(errors::InvalidationFailed(what, FailureOf(outcome)));
                     }
                     v1::InvalidateResponse done;
                     *done.mutable_trace() = ToKernelTrace(recording.get());
                     reply->Reply(std::move(done));
                   });
  return reply.get();
}

grpc::ServerUnaryReactor* LocalService::DmaTest(grpc::CallbackServerContext*,
                                                const v1::DmaTestRequest* request,
                                                v1::DmaTestResponse* response) {
  auto reply = UnaryReply<v1::DmaTestResponse>::Make(response);
  absl::Status status = Validate(*request);
  if (status.ok() && !parts_.simulated) status = errors::NotSimulated();
  if (!status.ok()) {
    reply->Reply(status);
  } else {
    kernel_work_.Post([this, reply, request = *request] { reply->Reply(TestNow(request)); });
  }
  return reply.get();
}

absl::StatusOr<v1::DmaTestResponse> LocalService::TestNow(const v1::DmaTestRequest& request) {
  const auto recording = StartTrace(parts_.syscalls, request.trace());
  const std::shared_ptr<Shim> shim = ShimOf(request.device());
  if (shim == nullptr) return errors::NotFound(request.device());
  ASSIGN_OR_RETURN(v1::DmaTestResponse response, RunDmaTest(*shim, request));
  *response.mutable_trace() = ToKernelTrace(recording.get());
  return response;
}

std::shared_ptr<Shim> LocalService::ShimOf(const Bdf& device) const {
  for (auto& shim : parts_.launcher.Running()) {
    if (shim->Inventory().held.devices.contains(device)) return shim;
  }
  return nullptr;
}

}  // namespace nestor::agent
