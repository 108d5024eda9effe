#include "cli/commands/session.h"

#include "api/support/program_options.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

constexpr absl::Duration kDefaultCallTimeout = absl::Seconds(10);

// CLI11 takes an empty text for "valid".
std::string CheckTimeout(const std::string& text) {
  absl::Duration timeout;
  if (absl::ParseDuration(text, &timeout) && timeout > absl::ZeroDuration()) return "";
  return "\"" + Printable(text) + "\" is no time like 500ms, 30s or 5m";
}

std::string CheckOutput(const std::string& text) {
  auto format = ParseOutputFormat(text);
  return format.ok() ? "" : std::string(format.status().message());
}

std::string CheckProject(const std::string& text) {
  auto project = ParseProjectParent("projects/" + text);
  if (project.ok() && !project->empty()) return "";
  return "\"" + Printable(text) +
         "\" is no project id: 1-63 characters [a-z0-9-], beginning with a letter and ending "
         "with a letter or digit";
}

}  // namespace

void Session::AddGlobalOptions(CLI::App* app) {
  options_.server = "unix:/run/nestor/server.sock";
  app->add_option("--server", options_.server,
                  "Where nestor-server listens: unix:PATH or HOST:PORT")
      ->type_name("ADDRESS")
      ->envname("NESTOR_SERVER")
      ->capture_default_str();
  AddTransportOptions(app, &options_.security);
  app->get_option("--tls-cert")->envname("NESTOR_TLS_CERT");
  app->get_option("--tls-key")->envname("NESTOR_TLS_KEY");
  app->get_option("--tls-ca")->envname("NESTOR_TLS_CA");
  app->get_option("--insecure")->envname("NESTOR_INSECURE");
  app->add_option("--timeout", options_.timeout,
                  "How long each call may take (10s), or how long to wait where the command "
                  "waits (60s)")
      ->type_name("DURATION")
      ->check(CheckTimeout);
  app->add_option("-o,--output", options_.output, "How to print resources")
      ->type_name("{table,wide,json,yaml}")
      ->check(CheckOutput)
      ->capture_default_str();
  app->add_option("--project", options_.project, "The project of short names")
      ->type_name("PROJECT")
      ->envname("NESTOR_PROJECT")
      ->check(CheckProject)
      ->capture_default_str();
}

absl::StatusOr<std::unique_ptr<Connection>> Session::Connect() const {
  return Connect(options_.server);
}

absl::StatusOr<std::unique_ptr<Connection>> Session::Connect(const std::string& server) const {
  ASSIGN_OR_RETURN(const auto credentials,
                   MakeChannelCredentials(options_.security, server, absl::Now()));
  return std::make_unique<Connection>(server, credentials, Timeout(kDefaultCallTimeout));
}

absl::Duration Session::Timeout(absl::Duration otherwise) const {
  absl::Duration timeout;
  return absl::ParseDuration(options_.timeout, &timeout) ? timeout : otherwise;
}

ExitCode Session::UsageError(const absl::Status& status) const {
  err() << "error: " << status.message() << "\nRun `nestorctl " << command_
        << " --help` for usage.\n";
  return ExitCode::kUsage;
}

ExitCode Session::ManifestError(const absl::Status& status) const {
  err() << "error: " << status.message() << '\n';
  return ExitCode::kUsage;
}

ExitCode Session::CallError(absl::string_view action, const absl::Status& status,
                            const FieldLocator& locate) const {
  err() << ErrorText(action, status, options_.server, locate);
  return ExitCodeOf(status);
}

ExitCode Session::CallErrorOf(const std::string& server, absl::string_view action,
                              const absl::Status& status) const {
  err() << ErrorText(action, status, server, nullptr);
  return ExitCodeOf(status);
}

}  // namespace nestor::cli
