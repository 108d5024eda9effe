#include "cli/local/local_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/enum_name.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

constexpr size_t kBytesPerLine = 16;
constexpr size_t kMaxTraceBytes = 256;

std::string FailureText(const v1::Failure& failure) {
  std::string text =
      absl::StrCat(TerminalSafe(failure.reason()), ": ", TerminalSafe(failure.message()));
  if (failure.has_kernel_error()) {
    absl::StrAppend(&text, " (", KernelErrorText(failure.kernel_error()), ")");
  }
  return text;
}

std::string OutcomeText(const v1::Result& result) {
  const std::string outcome = ShortEnumName(result.outcome());
  return result.has_failure() ? absl::StrCat(outcome, ", ", FailureText(result.failure()))
                              : outcome;
}

std::string DeviceText(const v1::HeldDevice& device) {
  std::string text = absl::StrCat("  device ", TerminalSafe(device.device()), ", monitor at ",
                                  OrDash(device.socket()), "\n");
  for (const v1::GuestRegion& region : device.memory()) {
    absl::StrAppendFormat(&text, "    memory 0x%x-0x%x%s\n", region.guest_address(),
                          region.guest_address() + region.size() - 1,
                          region.writable() ? "" : " read-only");
  }
  for (const v1::HeldTable& table : device.tables()) {
    absl::StrAppendFormat(&text, "    PASID %d walks root 0x%x, %d bits\n", table.pasid(),
                          table.page_table().root(), table.page_table().address_width());
  }
  return text;
}

std::string MachineText(const v1::HeldState& machine) {
  const v1::HeldVirtualMachine& held = machine.virtual_machine();
  std::string text =
      absl::StrCat(TerminalSafe(held.name()), ", generation ", held.generation(), "\n  guest ",
                   held.vm_instance().empty() ? "none: no monitor is connected"
                                              : TerminalSafe(held.vm_instance()),
                   "\n");
  if (machine.has_fence()) {
    absl::StrAppend(&text, "  fence ", TerminalSafe(machine.fence().incarnation()), " epoch ",
                    machine.fence().epoch(), " revision ", machine.fence().head_revision(), "\n");
  }
  if (held.has_memory_failure()) {
    absl::StrAppend(&text, "  memory ", FailureText(held.memory_failure()), "\n");
  }
  for (const v1::HeldDevice& device : machine.devices()) {
    absl::StrAppend(&text, DeviceText(device));
  }
  if (!machine.pasids().empty()) {
    absl::StrAppend(&text, "  PASIDs reserved ", absl::StrJoin(machine.pasids(), ", "), "\n");
  }
  for (const v1::Result& binding : machine.bindings()) {
    absl::StrAppend(&text, "  binding ", TerminalSafe(binding.uid()), " generation ",
                    binding.generation(), " ", OutcomeText(binding), "\n");
  }
  return text;
}

std::string CallText(const v1::KernelCall& call) {
  const std::string name = call.call() == "ioctl" ? call.operation() : call.call();
  std::string text = TerminalSafe(name);
  if (!call.object().empty()) absl::StrAppend(&text, " ", TerminalSafe(call.object()));
  if (call.call() != "ioctl" && !call.operation().empty()) {
    absl::StrAppend(&text, ", ", TerminalSafe(call.operation()));
  }
  absl::StrAppend(&text, " = ", call.result());
  if (!call.error_name().empty()) absl::StrAppend(&text, " ", TerminalSafe(call.error_name()));
  return text + "\n";
}

std::string TraceBytes(const std::string& prefix, const std::string& bytes) {
  std::string text = HexDump(prefix, bytes.substr(0, kMaxTraceBytes));
  if (bytes.size() > kMaxTraceBytes) {
    absl::StrAppend(&text, prefix, "and ", bytes.size() - kMaxTraceBytes, " bytes more\n");
  }
  return text;
}

}  // namespace

std::string HexDump(const std::string& prefix, const std::string& bytes) {
  std::string text;
  for (size_t offset = 0; offset < bytes.size(); offset += kBytesPerLine) {
    const std::string line = bytes.substr(offset, kBytesPerLine);
    std::string numbers;
    std::string letters;
    for (const char c : line) {
      const auto byte = static_cast<unsigned char>(c);
      absl::StrAppendFormat(&numbers, "%02x ", byte);
      letters += byte >= 0x20 && byte < 0x7f ? c : '.';
    }
    absl::StrAppendFormat(&text, "%s%08x  %-48s |%s|\n", prefix, offset, numbers, letters);
  }
  return text;
}

std::string DumpText(const v1::DumpResponse& dump) {
  std::string text =
      absl::StrCat(dump.standalone() ? "standalone agent" : "agent with a server",
                   dump.simulated() ? " on a simulated kernel" : "", ", ", dump.machines_size(),
                   dump.machines_size() == 1 ? " virtual machine\n" : " virtual machines\n");
  for (const v1::HeldState& machine : dump.machines()) {
    absl::StrAppend(&text, "\n", MachineText(machine));
  }
  return text;
}

std::string BindText(const v1::BindRequest& request, const v1::BindResponse& response) {
  std::string text = absl::StrCat("PASID ", request.pasid(), " of ", request.device(), ": ",
                                  OutcomeText(response.result()), "\n");
  if (response.result().failure().reason() == "WAITING_FOR_VMM") {
    absl::StrAppend(&text, "next: connect the monitor to ", TerminalSafe(response.socket()), "\n");
  }
  return text;
}

std::string DmaTestText(const v1::DmaTestResponse& response) {
  if (!response.has_fault()) return HexDump("", response.data());
  return absl::StrFormat("fault %s at 0x%x\n", TerminalSafe(response.fault().reason_name()),
                         response.fault().address());
}

std::string TraceText(const v1::KernelTrace& trace) {
  std::string text;
  for (const v1::KernelCall& call : trace.calls()) {
    absl::StrAppend(&text, CallText(call), TraceBytes("  > ", call.argument()),
                    TraceBytes("  < ", call.reply()));
  }
  if (trace.dropped() > 0) absl::StrAppend(&text, "and ", trace.dropped(), " calls more\n");
  return text;
}

}  // namespace nestor::cli
