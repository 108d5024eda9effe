#include "agent/local/local_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "agent/check/check_command.h"
#include "agent/core/kernel_error.h"
#include "agent/local/dma_test.h"
#include "agent/local/kernel_trace.h"
#include "agent/local/local_validation.h"
#include "agent/local/unary_reply.h"
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

grpc::ServerUnaryReactor* LocalService::Bind(grpc::CallbackServerContext*,
                                             const v1::BindRequest* request,
                                             v1::BindResponse* response) {
  auto reply = UnaryReply<v1::BindResponse>::Make(response);
  absl::Status status = Validate(*request);
  if (status.ok()) status = CheckStandalone();
  if (!status.ok()) {
    reply->Reply(status);
    return reply.get();
  }
  parts_.loop.Post([this, reply, request = *request] {
    const auto recording = StartTrace(parts_.syscalls, request.trace());
    const std::string socket = parts_.socket_of(request.virtual_machine(), request.device());
    parts_.session->Bind(request, [reply, recording, socket](absl::StatusOr<v1::Result> result) {
      if (!result.ok()) return reply->Reply(result.status());
      v1::BindResponse bound;
      *bound.mutable_result() = *std::move(result);
      bound.set_socket(socket);
      *bound.mutable_trace() = ToKernelTrace(recording.get());
      reply->Reply(std::move(bound));
    });
  });
  return reply.get();
}

grpc::ServerUnaryReactor* LocalService::Unbind(grpc::CallbackServerContext*,
                                               const v1::UnbindRequest* request,
                                               v1::UnbindResponse* response) {
  auto reply = UnaryReply<v1::UnbindResponse>::Make(response);
  absl::Status status = Validate(*request);
  if (status.ok()) status = CheckStandalone();
  if (!status.ok()) {
    reply->Reply(status);
    return reply.get();
  }
  parts_.loop.Post([this, reply, request = *request] {
    const auto recording = StartTrace(parts_.syscalls, request.trace());
    parts_.session->Unbind(request, [reply, recording](absl::StatusOr<v1::Result> result) {
      if (!result.ok()) return reply->Reply(result.status());
      v1::UnbindResponse unbound;
      *unbound.mutable_result() = *std::move(result);
      *unbound.mutable_trace() = ToKernelTrace(recording.get());
      reply->Reply(std::move(unbound));
    });
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
  for (const auto& shim : parts_.launcher.Running()) {
    if (!shim->Inventory().held.devices.contains(request.device())) continue;
    ASSIGN_OR_RETURN(v1::DmaTestResponse response, RunDmaTest(*shim, request));
    *response.mutable_trace() = ToKernelTrace(recording.get());
    return response;
  }
  return errors::NotFound(request.device());
}

}  // namespace nestor::agent
