#include "cli/commands/commands.h"
#include "cli/commands/resource_client.h"
#include "cli/describe.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

using google::protobuf::Message;

constexpr char kFooter[] = R"(A virtual machine is shown with its bindings.

Examples:
  nestorctl describe vm web-1
  nestorctl describe binding web-1/sva-3
  nestorctl describe device host-a/0000:01:00.0
  nestorctl describe host host-a)";

std::string DescribeResource(Kind kind, const Message& resource, absl::Time now) {
  switch (kind) {
    case Kind::kHost:
      return Describe(static_cast<const v1::Host&>(resource), now);
    case Kind::kDevice:
      return Describe(static_cast<const v1::Device&>(resource));
    case Kind::kVirtualMachine:
      return Describe(static_cast<const v1::VirtualMachine&>(resource), now);
    case Kind::kPasidBinding:
      return Describe(static_cast<const v1::PasidBinding&>(resource), now);
  }
  return "";
}

absl::Status PrintBindingsOf(const Session& session, Connection& connection,
                             const std::string& machine, absl::Time now) {
  TableOptions options;
  options.now = now;
  auto printer =
      MakeResourcePrinter(OutputFormat::kTable, Kind::kPasidBinding, true, options, session.out());
  session.out() << '\n';
  absl::Status status = ListResources(
      connection, {Kind::kPasidBinding, machine, ""},
      [&](const Message& binding) { printer->Print(binding); },
      [&] {
        printer->EndPage();
        return session.out().good();
      });
  if (status.ok()) printer->Finish("It has no bindings.");
  return status;
}

ExitCode RunDescribe(const Session& session, const std::string& kind_word,
                     const std::string& short_name) {
  auto kind = ParseKind(kind_word);
  if (!kind.ok()) return session.UsageError(kind.status());
  auto name = FullName(*kind, short_name, session.project());
  if (!name.ok()) return session.UsageError(name.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  const std::string action = "describe " + ShortName(*name, true);
  auto resource = GetResource(**connection, *kind, *name);
  if (!resource.ok()) return session.CallError(action, resource.status());
  const absl::Time now = absl::Now();
  session.out() << DescribeResource(*kind, **resource, now);
  if (*kind != Kind::kVirtualMachine) return ExitCode::kOk;
  const absl::Status bindings = PrintBindingsOf(session, **connection, *name, now);
  return bindings.ok() ? ExitCode::kOk : session.CallError(action, bindings);
}

}  // namespace

void AddDescribeCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  struct Options {
    std::string kind;
    std::string name;
  };
  CLI::App* command = app->add_subcommand("describe", "Show everything about one resource");
  command->footer(kFooter);
  auto options = std::make_shared<Options>();
  command->add_option("kind", options->kind, "What it is")
      ->type_name("{host,device,vm,binding}")
      ->required();
  command->add_option("name", options->name, "Its name")->type_name("NAME")->required();
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunDescribe(session, options->kind, options->name); };
  });
}

}  // namespace nestor::cli
