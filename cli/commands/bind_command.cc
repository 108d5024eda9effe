#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/commands/commands.h"
#include "cli/commands/intent_writer.h"
#include "cli/commands/waiting.h"
#include "cli/enum_name.h"
#include "cli/message_text.h"
#include "cli/names.h"
#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(Creates the binding, or changes the one of that name; its labels stay. Where it is so
already, nothing happens. Device and PASID of a binding never change: unbind it first.
The PASID that the guest must program is printed; -o json prints the whole binding.

Examples:
  nestorctl bind web-1/sva-3 --device 0000:01:00.0 --pasid 3 --root 0x300000
  nestorctl bind web-1/sva-3 --device 0000:01:00.0 --any-of 1-10 --root 0x300000 --wait
  nestorctl bind web-1/sva-3 --device 0000:01:00.0 --pasid 3 --root 0x300000 --dry-run)";

struct BindOptions {
  std::string name;
  std::string device;
  uint32_t pasid = 0;
  std::string any_of;
  bool rid = false;
  std::string root;
  uint32_t address_width = 48;
  std::string format = "vtd_s1";
  std::string instance;
  bool allow_translation_gap = false;
  bool dry_run = false;
  bool wait = false;
};

absl::StatusOr<uint64_t> ParseRoot(const std::string& text) {
  uint64_t root = 0;
  if (absl::SimpleHexAtoi(text, &root)) return root;
  return absl::InvalidArgumentError(
      absl::StrCat("--root: \"", Printable(text), "\" is no address like 0x300000"));
}

absl::StatusOr<v1::PasidRange> ParseRange(const std::string& text) {
  const std::vector<std::string> ends = absl::StrSplit(text, '-');
  uint32_t first = 0;
  uint32_t last = 0;
  if (ends.size() == 2 && absl::SimpleAtoi(ends[0], &first) && absl::SimpleAtoi(ends[1], &last)) {
    v1::PasidRange range;
    range.set_first(first);
    range.set_last(last);
    return range;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--any-of: \"", Printable(text), "\" is no range like 1-10"));
}

absl::StatusOr<v1::PageTable::Format> ParseFormat(const std::string& text) {
  const auto& type = *v1::PageTable::Format_descriptor();
  std::vector<std::string> known;
  // The first is UNSPECIFIED.
  for (int i = 1; i < type.value_count(); ++i) {
    known.push_back(absl::AsciiStrToLower(ShortEnumName(*type.value(i))));
    if (absl::AsciiStrToLower(text) == known.back()) {
      return static_cast<v1::PageTable::Format>(type.value(i)->number());
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--format: unknown format \"", Printable(text), "\"", Suggestion(text, known)));
}

absl::StatusOr<v1::PasidBinding> WantedBinding(const BindOptions& options,
                                               const std::string& project) {
  v1::PasidBinding binding;
  ASSIGN_OR_RETURN(*binding.mutable_name(), FullName(Kind::kPasidBinding, options.name, project));
  v1::PasidBindingSpec& spec = *binding.mutable_spec();
  spec.set_device(options.device);
  if (options.rid) {
    spec.mutable_rid();
  } else if (!options.any_of.empty()) {
    ASSIGN_OR_RETURN(*spec.mutable_any_of(), ParseRange(options.any_of));
  } else {
    spec.set_pasid(options.pasid);
  }
  ASSIGN_OR_RETURN(const v1::PageTable::Format format, ParseFormat(options.format));
  ASSIGN_OR_RETURN(const uint64_t root, ParseRoot(options.root));
  spec.mutable_page_table()->set_format(format);
  spec.mutable_page_table()->set_root(root);
  spec.mutable_page_table()->set_address_width(options.address_width);
  spec.set_vm_instance(options.instance);
  spec.set_allow_translation_gap(options.allow_translation_gap);
  return binding;
}

// What the command line has no word for stays as it is.
absl::Status KeepLabels(Connection& connection, v1::PasidBinding* wanted) {
  v1::GetPasidBindingRequest request;
  request.set_name(wanted->name());
  auto stored = connection.Call(connection.bindings(),
                                &v1::PasidBindingService::Stub::GetPasidBinding, request);
  if (absl::IsNotFound(stored.status())) return absl::OkStatus();
  RETURN_IF_ERROR(stored.status());
  *wanted->mutable_metadata()->mutable_labels() = stored->metadata().labels();
  return absl::OkStatus();
}

absl::string_view OutcomeText(UpsertOutcome outcome) {
  switch (outcome) {
    case UpsertOutcome::kCreated:
      return "created";
    case UpsertOutcome::kUpdated:
      return "updated";
    case UpsertOutcome::kUnchanged:
      return "unchanged";
  }
  return "";
}

void Print(const Session& session, const Upserted<v1::PasidBinding>& result, bool dry_run) {
  const v1::PasidBinding& binding = result.resource;
  switch (session.output()) {
    case OutputFormat::kJson:
      session.out() << ToJson(binding, KindName(Kind::kPasidBinding)) << '\n';
      break;
    case OutputFormat::kYaml:
      session.out() << ToYaml(binding, KindName(Kind::kPasidBinding));
      break;
    default:
      session.out() << "binding " << ShortName(binding.name(), true) << ": "
                    << OutcomeText(result.outcome);
      if (binding.status().effective_pasid() != 0) {
        session.out() << ", pasid " << binding.status().effective_pasid();
      }
      session.out() << (dry_run ? " (dry run)" : "") << '\n';
  }
  session.out().flush();
}

ExitCode RunBind(const Session& session, const BindOptions& options) {
  auto wanted = WantedBinding(options, session.project());
  if (!wanted.ok()) return session.UsageError(wanted.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  const std::string action = absl::StrCat("bind ", ShortName(wanted->name(), true));
  const absl::Status labels = KeepLabels(**connection, &*wanted);
  if (!labels.ok()) return session.CallError(action, labels);
  auto result = WritePasidBinding(**connection, *wanted, options.dry_run);
  if (!result.ok()) return session.CallError(action, result.status());
  Print(session, *result, options.dry_run);
  if (!options.wait || options.dry_run) return ExitCode::kOk;
  WaitTracker tracker(Goal::kProgrammed);
  tracker.Add(wanted->name(), result->resource.metadata().generation());
  return WaitFor(session, **connection, tracker, session.Timeout(kDefaultWait));
}

void AddTarget(CLI::App* command, BindOptions* options) {
  CLI::Option_group* target = command->add_option_group("Target");
  target->add_option("--pasid", options->pasid, "Exactly this PASID, 1-1048575")
      ->type_name("NUMBER");
  target->add_option("--any-of", options->any_of, "Any free PASID of these, picked now")
      ->type_name("FIRST-LAST");
  target->add_flag("--rid", options->rid, "The device itself rather than one of its PASIDs");
  target->require_option(1);
}

void AddPageTable(CLI::App* command, BindOptions* options) {
  command
      ->add_option("--root", options->root,
                   "Guest physical address of the top-level table, hexadecimal")
      ->type_name("ADDRESS")
      ->required();
  command
      ->add_option("--address-width", options->address_width,
                   "Bits of a guest virtual address: 48 or 57")
      ->type_name("{48,57}")
      ->capture_default_str();
  command->add_option("--format", options->format, "Who walks the table")
      ->type_name("{vtd_s1,arm_smmuv3,amd_v2}")
      ->capture_default_str();
}

}  // namespace

void AddBindCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command = app->add_subcommand("bind", "Bind a guest's page table to a PASID");
  command->footer(kFooter);
  auto options = std::make_shared<BindOptions>();
  command->add_option("name", options->name, "The binding, e.g. web-1/sva-3")
      ->type_name("VM/BINDING")
      ->required();
  command->add_option("--device", options->device, "PCI address of one of the machine's devices")
      ->type_name("BDF")
      ->required();
  AddTarget(command, options.get());
  AddPageTable(command, options.get());
  command
      ->add_option("--vm-instance", options->instance,
                   "Only for this boot of the guest; else for the one that runs")
      ->type_name("ID");
  command->add_flag("--allow-translation-gap", options->allow_translation_gap,
                    "A later change of the root may fault the PASID's DMA for a moment");
  command->add_flag("--dry-run", options->dry_run,
                    "Have the server do every check and change nothing");
  command->add_flag("--wait", options->wait, "Wait until it is programmed (--timeout, 60s)");
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunBind(session, *options); };
  });
}

}  // namespace nestor::cli
