#include "cli/commands/commands.h"
#include "cli/describe.h"
#include "cli/message_text.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(Shows each rung of the binding's ladder with its time, the first one not reached, the
kernel call that failed, the likely cause and one next step.

Examples:
  nestorctl explain web-1/sva-3
  nestorctl explain projects/demo/virtualMachines/web-1/pasidBindings/sva-3 -o json)";

void Print(const Session& session, const v1::ExplainPasidBindingResponse& explanation) {
  switch (session.output()) {
    case OutputFormat::kJson:
      session.out() << ToJson(explanation, "") << '\n';
      return;
    case OutputFormat::kYaml:
      session.out() << ToYaml(explanation, "");
      return;
    default:
      session.out() << Explain(explanation);
  }
}

ExitCode RunExplain(const Session& session, const std::string& short_name) {
  auto name = FullName(Kind::kPasidBinding, short_name, session.project());
  if (!name.ok()) return session.UsageError(name.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  v1::ExplainPasidBindingRequest request;
  request.set_name(*name);
  auto explanation = (*connection)
                         ->Call((*connection)->bindings(),
                                &v1::PasidBindingService::Stub::ExplainPasidBinding, request);
  if (!explanation.ok()) {
    return session.CallError("explain " + ShortName(*name, true), explanation.status());
  }
  Print(session, *explanation);
  return ExitCode::kOk;
}

}  // namespace

void AddExplainCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command =
      app->add_subcommand("explain", "Say where a binding stands, why, and what to do");
  command->footer(kFooter);
  auto name = std::make_shared<std::string>();
  command->add_option("name", *name, "The binding, e.g. web-1/sva-3")
      ->type_name("VM/BINDING")
      ->required();
  command->callback([&session, chosen, name] {
    *chosen = [&session, name] { return RunExplain(session, *name); };
  });
}

}  // namespace nestor::cli
