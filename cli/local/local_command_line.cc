#include "cli/local/local_command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <functional>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/host_check_text.h"
#include "cli/local/local_session.h"
#include "cli/local/local_text.h"
#include "cli/names.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

using Stub = v1::LocalAgentService::Stub;
using Chosen = std::function<ExitCode()>;

constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr absl::Duration kLongPatience = absl::Seconds(60);

constexpr char kDescription[] =
    "nestorctl --local speaks to one nestor-agent on this machine, without any server.\n";

constexpr char kFooter[] =
    R"(bind and unbind need an agent that runs with --standalone: elsewhere a server decides.

Exit codes: as nestorctl's (0 done, 1 refused, failed or faulted, 2 wrong usage, 3 not there,
5 no answer); of check, as nestor-agent check's (0 ready, 1 not all, 3 nothing to check).

Examples:
  nestor-agent --standalone --kernel sim --run-dir /tmp/nestor &
  export A=unix:/tmp/nestor/local.sock
  nestorctl --local $A check
  nestorctl --local $A bind web-1 0000:01:00.0 7 0x100000 --trace
  nestorctl --local $A dma-test 0000:01:00.0 7 0x7f0000000000
  nestorctl --local $A invalidate 0000:01:00.0 7
  nestorctl --local $A dump
  nestorctl --local $A unbind web-1)";

// What the command line names; each command takes its part.
struct Arguments {
  std::string machine;
  std::string device;
  uint32_t pasid = 0;
  uint64_t address = 0;
  uint32_t address_width = 48;
  uint64_t size = 0;
  uint32_t dma_size = 64;
  uint64_t guest_memory = 0;
  bool wait = false;
  bool allow_gap = false;
  bool all = false;
  std::vector<std::string> devices;
};

ExitCode RunCheck(const LocalSession& session, const Arguments& arguments) {
  v1::CheckHostRequest request;
  for (const std::string& device : arguments.devices) request.add_devices(device);
  request.set_all(arguments.all);
  request.set_guest_memory_bytes(arguments.guest_memory);
  request.set_trace(session.trace());
  const auto response = session.Call(&Stub::CheckHost, request, kPatience);
  if (!response.ok()) return session.CallError("check the host", response.status());
  session.Show(*response, HostCheckText(response->check()), response->trace());
  return static_cast<ExitCode>(HostCheckExitCode(response->check()));
}

ExitCode RunDump(const LocalSession& session) {
  const auto response = session.Call(&Stub::Dump, v1::DumpRequest(), kPatience);
  if (!response.ok()) return session.CallError("see what is held", response.status());
  session.Show(*response, DumpText(*response), {});
  return ExitCode::kOk;
}

ExitCode RunBind(const LocalSession& session, const Arguments& arguments) {
  const auto machine = FullName(Kind::kVirtualMachine, arguments.machine, session.project());
  if (!machine.ok()) return session.UsageError(machine.status());
  v1::BindRequest request;
  request.set_virtual_machine(*machine);
  request.set_device(arguments.device);
  request.set_pasid(arguments.pasid);
  request.mutable_page_table()->set_format(v1::PageTable::FORMAT_VTD_S1);
  request.mutable_page_table()->set_root(arguments.address);
  request.mutable_page_table()->set_address_width(arguments.address_width);
  request.set_allow_translation_gap(arguments.allow_gap);
  request.set_wait(arguments.wait);
  request.set_trace(session.trace());
  const auto response =
      session.Call(&Stub::Bind, request, arguments.wait ? kLongPatience : kPatience);
  if (!response.ok()) {
    return session.CallError(absl::StrCat("bind PASID ", arguments.pasid), response.status());
  }
  session.Show(*response, BindText(request, *response), response->trace());
  const auto outcome = response->result().outcome();
  const bool is_well =
      outcome == v1::Result::OUTCOME_PROGRAMMED || outcome == v1::Result::OUTCOME_ACCEPTED;
  return is_well ? ExitCode::kOk : ExitCode::kFailed;
}

ExitCode RunUnbind(const LocalSession& session, const Arguments& arguments) {
  const auto machine = FullName(Kind::kVirtualMachine, arguments.machine, session.project());
  if (!machine.ok()) return session.UsageError(machine.status());
  v1::UnbindRequest request;
  request.set_virtual_machine(*machine);
  request.set_device(arguments.device);
  request.set_pasid(arguments.pasid);
  request.set_trace(session.trace());
  const auto response = session.Call(&Stub::Unbind, request, kPatience);
  const std::string what = arguments.device.empty()
                               ? *machine
                               : absl::StrCat("PASID ", arguments.pasid, " of ", arguments.device);
  if (!response.ok()) return session.CallError("unbind " + TerminalSafe(what), response.status());
  session.Show(*response, absl::StrCat(TerminalSafe(what), ": gone\n"), response->trace());
  return ExitCode::kOk;
}

ExitCode RunInvalidate(const LocalSession& session, const Arguments& arguments) {
  v1::InvalidateRequest request;
  request.set_device(arguments.device);
  request.set_pasid(arguments.pasid);
  if (arguments.size != 0) {
    request.mutable_range()->set_address(arguments.address);
    request.mutable_range()->set_size(arguments.size);
  }
  request.set_trace(session.trace());
  const auto response = session.Call(&Stub::Invalidate, request, kPatience);
  const std::string what =
      absl::StrCat("PASID ", arguments.pasid, " of ", TerminalSafe(arguments.device));
  if (!response.ok()) return session.CallError("invalidate " + what, response.status());
  session.Show(*response, what + ": dropped\n", response->trace());
  return ExitCode::kOk;
}

ExitCode RunDmaTest(const LocalSession& session, const Arguments& arguments) {
  v1::DmaTestRequest request;
  request.set_device(arguments.device);
  request.set_pasid(arguments.pasid);
  request.set_address(arguments.address);
  request.set_size(arguments.dma_size);
  request.set_trace(session.trace());
  const auto response = session.Call(&Stub::DmaTest, request, kPatience);
  if (!response.ok()) return session.CallError("test the DMA", response.status());
  session.Show(*response, DmaTestText(*response), response->trace());
  return response->has_fault() ? ExitCode::kFailed : ExitCode::kOk;
}

CLI::App* AddCommand(CLI::App* app, const char* name, const char* help, Chosen* chosen,
                     Chosen run) {
  CLI::App* command = app->add_subcommand(name, help);
  command->callback([chosen, run = std::move(run)] { *chosen = run; });
  return command;
}

void AddCommands(CLI::App* app, const LocalSession& session, Arguments* to, Chosen* chosen) {
  CLI::App* check = AddCommand(app, "check", "Say which devices of this host can nest", chosen,
                               [&session, to] { return RunCheck(session, *to); });
  check->add_option("device", to->devices, "PCI addresses; see nestor-agent check --help");
  check->add_flag("--all", to->all, "Look at every PCI function but bridges");
  check
      ->add_option("--guest-memory", to->guest_memory,
                   "Memory that the guests of this host will have, e.g. 64GiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");

  AddCommand(app, "dump", "Show what the owners of virtual machines hold", chosen,
             [&session] { return RunDump(session); });

  CLI::App* bind = AddCommand(app, "bind", "Bind a guest's page table to a PASID of a device",
                              chosen, [&session, to] { return RunBind(session, *to); });
  bind->add_option("vm", to->machine, "The virtual machine; made where there is none")->required();
  bind->add_option("device", to->device, "PCI address; the machine gets it")->required();
  bind->add_option("pasid", to->pasid, "1 to 1048575")->required();
  bind->add_option("root", to->address, "Guest physical address of the root, e.g. 0x100000")
      ->required();
  bind->add_option("--address-width", to->address_width, "48, or 57 for five levels")
      ->capture_default_str();
  bind->add_flag("--allow-translation-gap", to->allow_gap,
                 "A root change may leave the PASID without translation for a moment");
  bind->add_flag("--wait", to->wait, "Until it is programmed or has failed for good");

  CLI::App* unbind = AddCommand(app, "unbind", "Take a binding away, or a whole virtual machine",
                                chosen, [&session, to] { return RunUnbind(session, *to); });
  unbind->add_option("vm", to->machine, "The virtual machine")->required();
  CLI::Option* device = unbind->add_option("device", to->device, "PCI address; without: all");
  unbind->add_option("pasid", to->pasid, "The PASID")->needs(device);

  CLI::App* invalidate =
      AddCommand(app, "invalidate", "Drop cached translations of a PASID of a device", chosen,
                 [&session, to] { return RunInvalidate(session, *to); });
  invalidate->add_option("device", to->device, "PCI address")->required();
  invalidate->add_option("pasid", to->pasid, "The PASID")->required();
  CLI::Option* address =
      invalidate->add_option("--address", to->address, "Only from this guest virtual address");
  CLI::Option* size = invalidate->add_option("--size", to->size, "How many bytes from there");
  address->needs(size);
  size->needs(address)->check(CLI::PositiveNumber);

  CLI::App* dma_test =
      AddCommand(app, "dma-test", "Have a device of a simulated kernel read memory", chosen,
                 [&session, to] { return RunDmaTest(session, *to); });
  dma_test->add_option("device", to->device, "PCI address")->required();
  dma_test->add_option("pasid", to->pasid, "The PASID; 0: none, through stage 2 alone")->required();
  dma_test->add_option("address", to->address, "Guest virtual address, or physical without PASID")
      ->required();
  dma_test->add_option("--size", to->dma_size, "Bytes, at most 4096")->capture_default_str();
}

ExitCode ReportParseError(const CLI::App& app, const CLI::ParseError& error, std::ostream& out,
                          std::ostream& err) {
  const auto commands = app.get_subcommands();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    out << (commands.empty() ? app.help() : commands[0]->help(app.get_name()));
    return ExitCode::kOk;
  }
  const std::string command = commands.empty() ? "" : " " + commands[0]->get_name();
  err << "error: " << TerminalSafe(error.what()) << "\nRun `nestorctl --local ADDRESS" << command
      << " --help` for usage.\n";
  return ExitCode::kUsage;
}

}  // namespace

bool IsLocal(const std::vector<std::string>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(), [](const std::string& argument) {
    return argument == "--local" || absl::StartsWith(argument, "--local=");
  });
}

ExitCode RunLocalCommandLine(const std::vector<std::string>& arguments, std::ostream& out,
                             std::ostream& err) {
  CLI::App app(kDescription, "nestorctl --local ADDRESS");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  LocalSession session(out, err);
  session.AddOptions(&app);
  Arguments values;
  Chosen chosen;
  AddCommands(&app, session, &values, &chosen);
  try {
    // CLI11 takes the arguments last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return ReportParseError(app, error, out, err);
  }
  return chosen();
}

}  // namespace nestor::cli
