#include "cli/local/local_session.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "api/support/grpc_address.h"
#include "api/support/resource_name.h"
#include "cli/local/local_error.h"
#include "cli/local/local_text.h"
#include "cli/message_text.h"

namespace nestor::cli {
namespace {

// CLI11 takes an empty text for "valid".
std::string CheckAddress(const std::string& address) {
  if (IsLocalAddress(address)) return "";
  return "\"" + Printable(address) +
         "\" is no socket of this machine like unix:/run/nestor-agent/" + "local.sock";
}

std::string CheckTimeout(const std::string& text) {
  absl::Duration timeout;
  if (absl::ParseDuration(text, &timeout) && timeout > absl::ZeroDuration()) return "";
  return "\"" + Printable(text) + "\" is no time like 500ms, 30s or 5m";
}

}  // namespace

void LocalSession::AddOptions(CLI::App* app) {
  app->add_option("--local", address_, "The agent's socket, e.g. unix:/run/nestor-agent/local.sock")
      ->required()
      ->check(CheckAddress);
  app->add_option("--timeout", timeout_, "How long the call may take (10s; with --wait 60s)")
      ->check(CheckTimeout);
  app->add_option("-o,--output", output_, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  app->add_option("--project", project_, "The project of short names")
      ->envname("NESTOR_PROJECT")
      ->capture_default_str();
  app->add_flag("--trace", trace_,
                "Show each kernel call that the agent makes meanwhile: its name, the bytes of its "
                "argument, its result");
}

std::unique_ptr<v1::LocalAgentService::Stub> LocalSession::Connect() const {
  return v1::LocalAgentService::NewStub(grpc::CreateCustomChannel(
      address_, grpc::InsecureChannelCredentials(), ClientChannelArguments()));
}

absl::Duration LocalSession::Timeout(absl::Duration otherwise) const {
  absl::Duration timeout;
  return absl::ParseDuration(timeout_, &timeout) ? timeout : otherwise;
}

void LocalSession::Show(const google::protobuf::Message& message, absl::string_view text,
                        const v1::KernelTrace& trace) const {
  if (output_ == "json") {
    out_ << ToJson(message, "") << '\n';
  } else if (output_ == "yaml") {
    out_ << ToYaml(message, "");
  } else {
    err_ << TraceText(trace);
    out_ << text;
  }
}

ExitCode LocalSession::UsageError(const absl::Status& status) const {
  err_ << "error: " << status.message() << '\n';
  return ExitCode::kUsage;
}

ExitCode LocalSession::CallError(absl::string_view action, const absl::Status& status) const {
  err_ << LocalErrorText(action, status, address_);
  return ExitCodeOf(status);
}

}  // namespace nestor::cli
