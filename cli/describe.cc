#include "cli/describe.h"

#include <map>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/enum_name.h"
#include "cli/field_list.h"
#include "cli/resource_table.h"
#include "cli/table.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

constexpr int kIndent = 2;

std::string LabelsText(const v1::Metadata& metadata) {
  const std::map<std::string, std::string> sorted(metadata.labels().begin(),
                                                  metadata.labels().end());
  return TerminalSafe(absl::StrJoin(sorted, ", ", absl::PairFormatter("=")));
}

std::string TimeAndAge(const google::protobuf::Timestamp& time, absl::Time now) {
  const std::string age = AgeText(time, now);
  return age == "-" ? age : absl::StrCat(TimeText(time), " (", age, " ago)");
}

void AddMetadata(const v1::Metadata& metadata, absl::Time now, FieldList* fields) {
  fields->Add("Labels", LabelsText(metadata));
  fields->Add("Uid", TerminalSafe(metadata.uid()));
  fields->Add("Generation", absl::StrCat(metadata.generation()));
  fields->Add("Revision", absl::StrCat(metadata.revision()));
  fields->Add("Created", TimeAndAge(metadata.create_time(), now));
  if (metadata.has_delete_time()) {
    fields->Add("Deletion asked", TimeAndAge(metadata.delete_time(), now));
  }
}

std::string SinceText(const google::protobuf::Timestamp& time) {
  const std::string text = TimeText(time);
  return text == "-" ? "" : absl::StrCat(" (since ", text, ")");
}

template <typename Conditions>
std::string ConditionsText(const Conditions& conditions) {
  std::string text;
  for (const v1::Condition& condition : conditions) {
    absl::StrAppend(&text, "  ", TerminalSafe(condition.type()), ": ",
                    ShortEnumName(condition.status()), condition.reason().empty() ? "" : " ",
                    TerminalSafe(condition.reason()), condition.message().empty() ? "" : ": ",
                    TerminalSafe(condition.message()), SinceText(condition.last_transition_time()),
                    "\n");
  }
  return text.empty() ? text : absl::StrCat("Conditions:\n", text);
}

std::string FailureText(const v1::Failure& failure) {
  FieldList fields;
  fields.Add("Reason", absl::StrCat(TerminalSafe(failure.reason()), " (",
                                    ShortEnumName(failure.kind()), ")"));
  fields.Add("Message", TerminalSafe(failure.message()));
  if (failure.has_kernel_error()) {
    fields.Add("Kernel", KernelErrorText(failure.kernel_error()));
  }
  if (failure.has_next_attempt_time()) {
    fields.Add("Next attempt", TimeText(failure.next_attempt_time()));
  }
  return absl::StrCat("Failure:\n", fields.ToString(kIndent));
}

std::string LadderText(const v1::LadderTimes& times) {
  FieldList fields;
  fields.Add("PERSISTED", TimeText(times.persisted()));
  fields.Add("ACCEPTED", TimeText(times.accepted()));
  std::string programmed = TimeText(times.programmed());
  if (times.has_program_duration()) {
    absl::StrAppend(&programmed, " (kernel took ", DurationText(times.program_duration()), ")");
  }
  fields.Add("PROGRAMMED", programmed);
  if (times.has_failed()) fields.Add("last failure", TimeText(times.failed()));
  return absl::StrCat("Ladder:\n", fields.ToString(kIndent));
}

std::string FormatsText(const v1::DeviceStatus& status) {
  return absl::StrJoin(status.formats(), ", ", [](std::string* out, int format) {
    out->append(ShortEnumName(static_cast<v1::PageTable::Format>(format)));
  });
}

std::string PageTableText(const v1::PageTable& table) {
  return absl::StrCat(ShortEnumName(table.format()), " root ", AddressText(table.root()), ", ",
                      table.address_width(), " bits",
                      table.supervisor_request() ? ", supervisor requests" : "",
                      table.extended_access_flag() ? ", extended access flag" : "");
}

}  // namespace

std::string Describe(const v1::Host& host, absl::Time now) {
  const v1::HostStatus& status = host.status();
  FieldList fields;
  fields.Add("Name", TerminalSafe(host.name()));
  AddMetadata(host.metadata(), now, &fields);
  fields.Add("Cordoned", host.spec().cordoned() ? "yes" : "no");
  fields.Add("State", ShortEnumName(status.state()));
  fields.Add("Last seen", TimeAndAge(status.last_seen_time(), now));
  fields.Add("Boot id", TerminalSafe(status.boot_id()));
  fields.Add("Agent", TerminalSafe(status.agent_instance()));
  fields.Add("Agent version", TerminalSafe(status.agent_version()));
  fields.Add("Epoch", absl::StrCat(status.epoch()));
  if (status.has_fence()) {
    fields.Add("Fenced by", TerminalSafe(status.fence().declared_by()));
    fields.Add("Evidence", TerminalSafe(status.fence().evidence()));
  }
  const std::string conditions = ConditionsText(status.conditions());
  std::string orphans;
  for (const v1::Orphan& orphan : status.orphans()) {
    absl::StrAppend(&orphans, "  ", TerminalSafe(orphan.device()), " pasid ", orphan.pasid(),
                    " root ", AddressText(orphan.root()), " (once binding ",
                    TerminalSafe(orphan.uid()), ")\n");
  }
  if (orphans.empty()) return absl::StrCat(fields.ToString(), conditions);
  return absl::StrCat(fields.ToString(), conditions,
                      "Orphans (held by the kernel, named by no intent):\n", orphans);
}

std::string Describe(const v1::Device& device) {
  const v1::DeviceStatus& status = device.status();
  FieldList fields;
  fields.Add("Name", TerminalSafe(device.name()));
  fields.Add("Id", absl::StrFormat("%04x:%04x", status.vendor_id(), status.device_id()));
  fields.Add("Driver", TerminalSafe(status.driver()));
  fields.Add("IOMMU group", status.iommu_group() < 0 ? "-" : absl::StrCat(status.iommu_group()));
  fields.Add("Group shared with", TerminalSafe(absl::StrJoin(status.group_siblings(), ", ")));
  if (!status.physical_function().empty()) {
    fields.Add("Virtual function of", TerminalSafe(status.physical_function()));
  }
  if (status.virtual_functions() > 0) {
    fields.Add("Virtual functions", absl::StrCat(status.virtual_functions()));
  }
  fields.Add("NUMA node", status.numa_node() < 0 ? "-" : absl::StrCat(status.numa_node()));
  fields.Add("Interface", ShortEnumName(status.iommu_interface()));
  fields.Add("Nesting", ShortEnumName(status.nest_granularity()));
  fields.Add("PASID bits", absl::StrCat(status.pasid_bits()));
  fields.Add("Address width", absl::StrCat(status.address_width(), " bits (stage 2)"));
  fields.Add("Formats", FormatsText(status));
  fields.Add("5-level tables", status.five_level() ? "yes" : "no");
  fields.Add("Used by", TerminalSafe(status.virtual_machine()));
  if (!status.reason().empty()) {
    fields.Add("Unusable",
               absl::StrCat(TerminalSafe(status.reason()), ": ", TerminalSafe(status.message())));
  }
  return fields.ToString();
}

std::string Describe(const v1::VirtualMachine& machine, absl::Time now) {
  const v1::VirtualMachineStatus& status = machine.status();
  FieldList fields;
  fields.Add("Name", TerminalSafe(machine.name()));
  AddMetadata(machine.metadata(), now, &fields);
  fields.Add("Host", TerminalSafe(machine.spec().placement().host()));
  if (!machine.status().leaving_host().empty()) {
    fields.Add("Leaving", TerminalSafe(machine.status().leaving_host()));
  }
  fields.Add("Devices", TerminalSafe(absl::StrJoin(machine.spec().placement().devices(), ", ")));
  fields.Add("State", ShortEnumName(status.state()));
  fields.Add("Instance", TerminalSafe(status.vm_instance()));
  fields.Add("Bindings",
             absl::StrCat(status.bindings(), ", ", status.programmed_bindings(), " programmed"));
  return absl::StrCat(fields.ToString(), ConditionsText(status.conditions()));
}

std::string Describe(const v1::PasidBinding& binding, absl::Time now) {
  const v1::PasidBindingSpec& spec = binding.spec();
  const v1::PasidBindingStatus& status = binding.status();
  FieldList fields;
  fields.Add("Name", TerminalSafe(binding.name()));
  AddMetadata(binding.metadata(), now, &fields);
  fields.Add("Device", TerminalSafe(spec.device()));
  fields.Add("Target", TargetText(spec));
  fields.Add("Page table", PageTableText(spec.page_table()));
  fields.Add("Only for instance", TerminalSafe(spec.vm_instance()));
  fields.Add("Translation gap", spec.allow_translation_gap() ? "allowed" : "not allowed");
  fields.Add("State", BindingStateText(binding));
  fields.Add("Effective PASID",
             status.effective_pasid() == 0 ? "-" : absl::StrCat(status.effective_pasid()));
  fields.Add("Kernel root", AddressText(status.programmed_root()));
  fields.Add("Kernel generation", absl::StrCat(status.programmed_generation()));
  fields.Add("Instance", TerminalSafe(status.vm_instance()));
  fields.Add("Attempts", absl::StrCat(status.attempts()));
  if (status.has_last_translation_gap()) {
    fields.Add("Last gap", DurationText(status.last_translation_gap()));
  }
  return absl::StrCat(fields.ToString(), LadderText(status.times()),
                      status.has_failure() ? FailureText(status.failure()) : "",
                      ConditionsText(status.conditions()));
}

std::string Explain(const v1::ExplainPasidBindingResponse& explanation) {
  const v1::PasidBinding& binding = explanation.pasid_binding();
  std::string text =
      absl::StrCat(TerminalSafe(binding.name()), ", generation ", binding.metadata().generation(),
                   ", is ", BindingStateText(binding), "\n");
  for (const auto& rung : explanation.rungs()) {
    absl::StrAppend(&text, absl::StrFormat("  [%s] %-10s  %s\n", rung.reached() ? "x" : " ",
                                           TerminalSafe(rung.name()),
                                           rung.reached() ? TimeText(rung.time()) : "not reached"));
  }
  if (explanation.first_unmet().empty()) return absl::StrCat(text, "Nothing is left to do.\n");
  FieldList fields;
  fields.Add("First not met", TerminalSafe(explanation.first_unmet()));
  fields.Add("Reason", TerminalSafe(explanation.reason()));
  if (binding.status().failure().has_kernel_error()) {
    fields.Add("Kernel call", KernelErrorText(binding.status().failure().kernel_error()));
  }
  fields.Add("Likely cause", TerminalSafe(explanation.cause()));
  fields.Add("Next step", TerminalSafe(explanation.next_step()));
  return absl::StrCat(text, fields.ToString());
}

std::string Timeline(const v1::GetPasidBindingTimelineResponse& timeline) {
  std::ostringstream text;
  Table table(text, {"TIME", "EVENT", "EPOCH", "AFTER", "WHAT HAPPENED"});
  for (const v1::TimelineEvent& event : timeline.events()) {
    std::string what = TerminalSafe(event.message());
    if (event.count() > 1) {
      absl::StrAppend(&what, "; ", event.count(), " times, last ", TimeText(event.last_time()));
    }
    table.AddRow({TimeText(event.time()), ShortEnumName(event.kind()),
                  event.epoch() == 0 ? "-" : absl::StrCat(event.epoch()),
                  event.has_latency() ? DurationText(event.latency()) : "-", what});
  }
  table.EndPage();
  return text.str();
}

}  // namespace nestor::cli
