#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"
#include "cli/commands/commands.h"
#include "cli/commands/resource_client.h"
#include "cli/list_filter.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

using google::protobuf::Message;

constexpr char kFooter[] =
    R"(Without NAME all resources of the kind in --project are listed, page by page.

Examples:
  nestorctl get hosts
  nestorctl get devices --host host-a -o wide
  nestorctl get vms -A -l tier=web
  nestorctl get bindings --vm web-1 --state failed
  nestorctl get bindings --filter 'host=host-a AND state!=PROGRAMMED'
  nestorctl get binding web-1/sva-3 -o yaml > sva-3.yaml     # edit, then apply -f sva-3.yaml
  nestorctl get bindings -A -o json | jq -r '.[].name')";

struct GetOptions {
  std::string kind;
  std::vector<std::string> names;
  std::string machine;
  bool all_projects = false;
  ListConditions conditions;
};

absl::StatusOr<std::string> BindingParent(const GetOptions& options, const std::string& project) {
  if (!options.machine.empty()) return FullName(Kind::kVirtualMachine, options.machine, project);
  return absl::StrCat("projects/", project, "/virtualMachines/-");
}

absl::StatusOr<ListQuery> MakeQuery(const Session& session, Kind kind, const GetOptions& options) {
  if (!options.machine.empty() && kind != Kind::kPasidBinding) {
    return absl::InvalidArgumentError("--vm goes with bindings only");
  }
  ListQuery query{kind, "", ""};
  ListConditions conditions = options.conditions;
  const std::string project = options.all_projects ? "-" : session.project();
  if (kind == Kind::kVirtualMachine) query.parent = absl::StrCat("projects/", project);
  if (kind == Kind::kPasidBinding) {
    ASSIGN_OR_RETURN(query.parent, BindingParent(options, project));
  }
  if (kind == Kind::kDevice) {
    const std::string host = std::exchange(conditions.host, "");
    ASSIGN_OR_RETURN(query.parent,
                     host.empty() ? std::string("hosts/-") : FullName(Kind::kHost, host, ""));
  }
  ASSIGN_OR_RETURN(query.filter, ListFilter(kind, conditions));
  return query;
}

TableOptions MakeTableOptions(bool with_project) {
  TableOptions options;
  options.with_project = with_project;
  options.now = absl::Now();
  return options;
}

std::string EmptyNote(const Session& session, Kind kind, const GetOptions& options) {
  const bool of_project = kind == Kind::kVirtualMachine || kind == Kind::kPasidBinding;
  std::string note = absl::StrCat("No ", KindNoun(kind), "s found");
  if (!of_project || options.all_projects || !options.machine.empty()) return note + ".";
  return absl::StrCat(note, " in project ", session.project(), " (-A shows all projects).");
}

ExitCode List(const Session& session, Connection& connection, const ListQuery& query,
              const GetOptions& options) {
  auto printer = MakeResourcePrinter(session.output(), query.kind, true,
                                     MakeTableOptions(options.all_projects), session.out());
  const absl::Status status = ListResources(
      connection, query, [&](const Message& resource) { printer->Print(resource); },
      [&] {
        printer->EndPage();
        return session.out().good();
      });
  if (!status.ok()) {
    return session.CallError(absl::StrCat("list ", KindNoun(query.kind), "s"), status);
  }
  printer->Finish(EmptyNote(session, query.kind, options));
  return ExitCode::kOk;
}

// Shows what it can; the exit code is that of the first that failed.
ExitCode GetNamed(const Session& session, Connection& connection, Kind kind,
                  const std::vector<std::string>& names) {
  auto printer = MakeResourcePrinter(session.output(), kind, names.size() > 1,
                                     MakeTableOptions(true), session.out());
  ExitCode exit_code = ExitCode::kOk;
  bool any = false;
  for (const std::string& name : names) {
    auto resource = GetResource(connection, kind, name);
    if (resource.ok()) {
      printer->Print(**resource);
      any = true;
      continue;
    }
    const ExitCode failed = session.CallError("get " + ShortName(name, true), resource.status());
    if (exit_code == ExitCode::kOk) exit_code = failed;
  }
  printer->EndPage();
  if (any) printer->Finish("");
  return exit_code;
}

ExitCode RunGet(const Session& session, const GetOptions& options) {
  auto kind = ParseKind(options.kind);
  if (!kind.ok()) return session.UsageError(kind.status());
  std::vector<std::string> names;
  for (const std::string& short_name : options.names) {
    auto name = FullName(*kind, short_name, session.project());
    if (!name.ok()) return session.UsageError(name.status());
    names.push_back(*std::move(name));
  }
  auto query = MakeQuery(session, *kind, options);
  if (!query.ok()) return session.UsageError(query.status());
  if (!names.empty() && !query->filter.empty()) {
    return session.UsageError(
        absl::InvalidArgumentError("names and conditions exclude each other"));
  }
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  return names.empty() ? List(session, **connection, *query, options)
                       : GetNamed(session, **connection, *kind, names);
}

void AddConditions(CLI::App* command, ListConditions* conditions) {
  command->add_option("--host", conditions->host, "On this host")->type_name("HOST");
  command->add_option("--device", conditions->device, "Bindings of this PCI address")
      ->type_name("BDF");
  command->add_option("--state", conditions->state, "In this state")->type_name(StateChoices());
  command
      ->add_option("-l,--label", conditions->selectors,
                   "With these labels: KEY=VALUE or KEY!=VALUE, several by commas")
      ->type_name("LABELS")
      ->allow_extra_args(false);
  command
      ->add_option("--filter", conditions->filter,
                   "A filter of the API: terms with = or !=, joined by AND")
      ->type_name("FILTER");
}

}  // namespace

void AddGetCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command =
      app->add_subcommand("get", "Show hosts, devices, virtual machines or bindings");
  command->footer(kFooter);
  auto options = std::make_shared<GetOptions>();
  command->add_option("kind", options->kind, "What to show")
      ->type_name("{hosts,devices,vms,bindings}")
      ->required();
  command->add_option("name", options->names, "Only these")->type_name("NAME");
  command->add_flag("-A,--all-projects", options->all_projects, "In all projects");
  command->add_option("--vm", options->machine, "Bindings of this virtual machine")
      ->type_name("VM");
  AddConditions(command, &options->conditions);
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunGet(session, *options); };
  });
}

}  // namespace nestor::cli
