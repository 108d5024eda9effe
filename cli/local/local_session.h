// What every command of one run of `nestorctl --local` shares.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <CLI/App.hpp>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "api/support/grpc_status.h"
#include "cli/exit_code.h"
#include "nestor/v1/local_agent_service.grpc.pb.h"

namespace nestor::cli {

class LocalSession {
 public:
  LocalSession(std::ostream& out, std::ostream& err) : out_(out), err_(err) {}
  LocalSession(const LocalSession&) = delete;
  LocalSession& operator=(const LocalSession&) = delete;

  // Adds the options that every command has to the parser, which fills them.
  void AddOptions(CLI::App* app);

  // One call, bounded by --timeout or `patience`. An agent that cannot be reached answers
  // UNAVAILABLE at once.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::LocalAgentService::Stub::*method)(
                                    grpc::ClientContext*, const Request&, Response*),
                                const Request& request, absl::Duration patience) const {
    const auto stub = Connect();
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + Timeout(patience)));
    Response response;
    const grpc::Status status = ((*stub).*method)(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }

  // Shows an answer: as `text`, or where -o says so as a document; the trace, where there is
  // one, goes to the error stream unless it is in the document.
  void Show(const google::protobuf::Message& message, absl::string_view text,
            const v1::KernelTrace& trace) const;

  ExitCode UsageError(const absl::Status& status) const;
  ExitCode CallError(absl::string_view action, const absl::Status& status) const;

  const std::string& project() const { return project_; }
  bool trace() const { return trace_; }

 private:
  std::unique_ptr<v1::LocalAgentService::Stub> Connect() const;
  absl::Duration Timeout(absl::Duration otherwise) const;

  std::ostream& out_;
  std::ostream& err_;
  std::string address_;
  std::string timeout_;
  std::string output_ = "table";
  std::string project_ = "default";
  bool trace_ = false;
};

}  // namespace nestor::cli
