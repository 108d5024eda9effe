#include "cli/commands/host_admin.h"

#include "cli/message_text.h"
#include "cli/names.h"

namespace nestor::cli {

void AddHostAdminOptions(CLI::App* command, HostAdminOptions* options) {
  options->admin_server = "unix:/run/nestor/admin.sock";
  command->add_option("host", options->host, "The host, e.g. host-a")
      ->type_name("HOST")
      ->required();
  command
      ->add_option("--admin-server", options->admin_server,
                   "Where nestor-server listens for operators (its --admin-listen)")
      ->type_name("ADDRESS")
      ->envname("NESTOR_ADMIN_SERVER")
      ->capture_default_str();
  command->add_flag("--dry-run", options->dry_run,
                    "Have the server do every check and change nothing");
}

absl::StatusOr<std::string> HostNameOf(const HostAdminOptions& options) {
  return FullName(Kind::kHost, options.host, "");
}

void PrintHost(const Session& session, const v1::Host& host, const std::string& sentence) {
  switch (session.output()) {
    case OutputFormat::kJson:
      session.out() << ToJson(host, "") << '\n';
      return;
    case OutputFormat::kYaml:
      session.out() << ToYaml(host, "");
      return;
    default:
      session.out() << sentence << '\n';
  }
}

}  // namespace nestor::cli
