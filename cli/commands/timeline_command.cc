#include "cli/commands/commands.h"
#include "cli/describe.h"
#include "cli/message_text.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(Shows what happened to the binding and to the host it is on, oldest first: the newest 50
events, with the host's session (epoch) and how long after its request the kernel had it.

Examples:
  nestorctl timeline web-1/sva-3
  nestorctl timeline web-1/sva-3 -o json)";

void Print(const Session& session, const v1::GetPasidBindingTimelineResponse& timeline) {
  switch (session.output()) {
    case OutputFormat::kJson:
      session.out() << ToJson(timeline, "") << '\n';
      return;
    case OutputFormat::kYaml:
      session.out() << ToYaml(timeline, "");
      return;
    default:
      session.out() << Timeline(timeline);
  }
}

ExitCode RunTimeline(const Session& session, const std::string& short_name) {
  auto name = FullName(Kind::kPasidBinding, short_name, session.project());
  if (!name.ok()) return session.UsageError(name.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  v1::GetPasidBindingTimelineRequest request;
  request.set_name(*name);
  auto timeline = (*connection)
                      ->Call((*connection)->bindings(),
                             &v1::PasidBindingService::Stub::GetPasidBindingTimeline, request);
  if (!timeline.ok()) {
    return session.CallError("timeline " + ShortName(*name, true), timeline.status());
  }
  Print(session, *timeline);
  return ExitCode::kOk;
}

}  // namespace

void AddTimelineCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command =
      app->add_subcommand("timeline", "Say what happened to a binding and its host");
  command->footer(kFooter);
  auto name = std::make_shared<std::string>();
  command->add_option("name", *name, "The binding, e.g. web-1/sva-3")
      ->type_name("VM/BINDING")
      ->required();
  command->callback([&session, chosen, name] {
    *chosen = [&session, name] { return RunTimeline(session, *name); };
  });
}

}  // namespace nestor::cli
