// LocalAgentService: what an agent answers without any server. Thin: validation, hand-over to
// the thread that may do it, reply.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/kernel/tracing_syscalls.h"
#include "agent/local/held_state.h"
#include "agent/local/local_session.h"
#include "agent/shim/shim.h"
#include "agent/vfio/iommu_backend.h"
#include "api/support/event_loop.h"
#include "nestor/v1/local_agent_service.grpc.pb.h"

namespace nestor::agent {

// What the service works on. All of it must outlive the service.
struct LocalServiceParts {
  kernel::TracingSyscalls& syscalls;  // on which `backend` and `launcher` make their calls
  IommuBackend& backend;
  ShimLauncher& launcher;
  EventLoop& loop;                  // of `session`
  LocalSession* session = nullptr;  // null: a server decides on this host
  bool simulated = false;           // the kernel is
  SocketOf socket_of;
};

// Calls of the kernel are made on a thread of the service's own, one request at a time.
// Thread-safe; the server that it is registered with must end before it.
class LocalService final : public v1::LocalAgentService::CallbackService {
 public:
  explicit LocalService(LocalServiceParts parts) : parts_(std::move(parts)) {}

  grpc::ServerUnaryReactor* CheckHost(grpc::CallbackServerContext* context,
                                      const v1::CheckHostRequest* request,
                                      v1::CheckHostResponse* response) override;
  grpc::ServerUnaryReactor* Dump(grpc::CallbackServerContext* context,
                                 const v1::DumpRequest* request,
                                 v1::DumpResponse* response) override;
  grpc::ServerUnaryReactor* Bind(grpc::CallbackServerContext* context,
                                 const v1::BindRequest* request,
                                 v1::BindResponse* response) override;
  grpc::ServerUnaryReactor* Unbind(grpc::CallbackServerContext* context,
                                   const v1::UnbindRequest* request,
                                   v1::UnbindResponse* response) override;
  grpc::ServerUnaryReactor* Invalidate(grpc::CallbackServerContext* context,
                                       const v1::InvalidateRequest* request,
                                       v1::InvalidateResponse* response) override;
  grpc::ServerUnaryReactor* DmaTest(grpc::CallbackServerContext* context,
                                    const v1::DmaTestRequest* request,
                                    v1::DmaTestResponse* response) override;

 private:
  absl::Status CheckStandalone() const;
  // Has the session do it, and answers with what becomes of it beside what `begun` says.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* AskSession(const Request& request, Response* response,
                                       void (*ask)(LocalSession&, const Request&,
                                                   LocalSession::Done),
                                       const Response& begun);
  // The owner of the device; null: none.
  std::shared_ptr<Shim> ShimOf(const Bdf& device) const;
  absl::StatusOr<v1::CheckHostResponse> CheckNow(const v1::CheckHostRequest& request);
  absl::StatusOr<v1::DmaTestResponse> TestNow(const v1::DmaTestRequest& request);
  v1::DumpResponse DumpNow();

  const LocalServiceParts parts_;
  EventLoop kernel_work_;
};

}  // namespace nestor::agent
