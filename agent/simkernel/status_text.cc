#include "agent/simkernel/status_text.h"

#include "absl/strings/str_cat.h"

namespace nestor::kernel {

std::string StatusText(const SimStatistics& statistics) {
  return absl::StrCat(
      "{\"descriptors\": ", statistics.descriptors, ", \"containers\": ", statistics.containers,
      ", \"groups\": ", statistics.groups, ", \"pasid_sets\": ", statistics.pasid_sets,
      ", \"pasids\": ", statistics.pasids, ", \"bindings\": ", statistics.bindings,
      ", \"mappings\": ", statistics.mappings, ", \"iotlb_entries\": ", statistics.iotlb_entries,
      ", \"iommufds\": ", statistics.iommufds, ", \"bound_devices\": ", statistics.bound_devices,
      ", \"ioases\": ", statistics.ioases, ", \"hwpts\": ", statistics.hwpts,
      ", \"viommus\": ", statistics.viommus, ", \"attachments\": ", statistics.attachments,
      ", \"dmas\": ", statistics.dmas, ", \"faults\": ", statistics.faults, "}\n");
}

}  // namespace nestor::kernel
