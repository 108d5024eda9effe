// What the commands for operators share: they speak to the admin server about one host.
#pragma once

#include <CLI/App.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "cli/commands/session.h"

namespace nestor::cli {

struct HostAdminOptions {
  std::string admin_server;
  std::string host;
  bool dry_run = false;
};

// The options, and the argument that names the host.
void AddHostAdminOptions(CLI::App* command, HostAdminOptions* options);

// Makes the call that `method` of HostAdminService is; `request` lacks name and validate_only.
// What went wrong is reported as `action`; the exit code is then in `exit_code`.
template <typename Request>
absl::StatusOr<v1::Host> CallHostAdmin(const Session& session, const HostAdminOptions& options,
                                       absl::string_view action,
                                       grpc::Status (v1::HostAdminService::Stub::*method)(
                                           grpc::ClientContext*, const Request&, v1::Host*),
                                       Request request, ExitCode* exit_code);

// The name of the host, in full.
absl::StatusOr<std::string> HostNameOf(const HostAdminOptions& options);

// Prints the host as -o wants it; with tables `sentence` instead.
void PrintHost(const Session& session, const v1::Host& host, const std::string& sentence);

template <typename Request>
absl::StatusOr<v1::Host> CallHostAdmin(const Session& session, const HostAdminOptions& options,
                                       absl::string_view action,
                                       grpc::Status (v1::HostAdminService::Stub::*method)(
                                           grpc::ClientContext*, const Request&, v1::Host*),
                                       Request request, ExitCode* exit_code) {
  auto name = HostNameOf(options);
  auto connection = session.Connect(options.admin_server);
  if (!name.ok() || !connection.ok()) {
    const absl::Status status = name.ok() ? connection.status() : name.status();
    *exit_code = session.UsageError(status);
    return status;
  }
  request.set_name(*name);
  request.set_validate_only(options.dry_run);
  auto host = (*connection)->Call((*connection)->host_admin(), method, request);
  if (!host.ok()) *exit_code = session.CallErrorOf(options.admin_server, action, host.status());
  return host;
}

}  // namespace nestor::cli
