#include "cli/watch_event.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/enum_name.h"
#include "cli/names.h"
#include "cli/resource_table.h"
#include "cli/text.h"

namespace nestor::cli {
namespace {

Kind KindOf(const v1::WatchResponse& event) {
  switch (event.resource_case()) {
    case v1::WatchResponse::kHost:
      return Kind::kHost;
    case v1::WatchResponse::kVirtualMachine:
      return Kind::kVirtualMachine;
    default:
      return Kind::kPasidBinding;
  }
}

std::string StateText(const v1::WatchResponse& event) {
  switch (event.resource_case()) {
    case v1::WatchResponse::kHost:
      return ShortEnumName(event.host().status().state());
    case v1::WatchResponse::kVirtualMachine: {
      const v1::VirtualMachineStatus& status = event.virtual_machine().status();
      return absl::StrCat(ShortEnumName(status.state()), ", ", status.programmed_bindings(), "/",
                          status.bindings(), " programmed");
    }
    default:
      return BindingStateText(event.pasid_binding());
  }
}

}  // namespace

std::string EventName(const v1::WatchResponse& event) {
  switch (event.resource_case()) {
    case v1::WatchResponse::kHost:
      return event.host().name();
    case v1::WatchResponse::kVirtualMachine:
      return event.virtual_machine().name();
    case v1::WatchResponse::kPasidBinding:
      return event.pasid_binding().name();
    case v1::WatchResponse::RESOURCE_NOT_SET:
      return "";
  }
  return "";
}

std::string EventLine(const v1::WatchResponse& event, bool in_snapshot, absl::Time now) {
  const bool gone = event.type() == v1::WatchResponse::TYPE_DELETED;
  return absl::StrFormat("%s  %-8s %-16s %-32s %s",
                         absl::FormatTime("%H:%M:%E3S", now, absl::UTCTimeZone()),
                         gone          ? "gone"
                         : in_snapshot ? "present"
                                       : "changed",
                         KindNoun(KindOf(event)), TerminalSafe(ShortName(EventName(event), true)),
                         gone ? "" : StateText(event));
}

}  // namespace nestor::cli
