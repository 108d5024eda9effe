#include "api/support/host_check_text.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace nestor {
namespace {

using Row = std::vector<std::string>;

std::string OrDash(absl::string_view text) { return text.empty() ? "-" : std::string(text); }

// Lines for people, with what could steer a terminal shown as \xNN.
std::string Safe(absl::string_view text) {
  std::string safe;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || (byte >= 0x20 && byte < 0x7f)) {
      safe += c;
    } else {
      absl::StrAppendFormat(&safe, "\\x%02x", byte);
    }
  }
  return safe;
}

absl::string_view ValueText(v1::KernelOption::Value value) {
  switch (value) {
    case v1::KernelOption::VALUE_OFF:
      return "off";
    case v1::KernelOption::VALUE_MODULE:
      return "module";
    case v1::KernelOption::VALUE_BUILT_IN:
      return "built in";
    default:
      return "unknown";
  }
}

std::string KernelText(const v1::KernelFacts& kernel) {
  std::string text = absl::StrCat(
      "Kernel       ", OrDash(kernel.release()), "; command line: ",
      kernel.iommu_parameters().empty() ? "nothing about IOMMUs"
                                        : absl::StrJoin(kernel.iommu_parameters(), " "),
      "\nOptions      ",
      kernel.config_path().empty() ? "unknown: neither /proc/config.gz nor /boot/config-* is there"
                                   : kernel.config_path(),
      "\n");
  if (kernel.config_path().empty()) return text;
  for (const v1::KernelOption& option : kernel.options()) {
    absl::StrAppendFormat(&text, "  %-24s %-9s %s\n", option.name(), ValueText(option.value()),
                          option.purpose());
  }
  return text;
}

std::string Has(bool is_known, bool has, absl::string_view what) {
  if (!is_known) return absl::StrCat(what, " unknown");
  return absl::StrCat(has ? "" : "no ", what);
}

absl::string_view InterfaceText(v1::IommuInterface interface) {
  switch (interface) {
    case v1::IOMMU_INTERFACE_TYPE1:
      return "type1 (/dev/vfio/vfio)";
    case v1::IOMMU_INTERFACE_IOMMUFD:
      return "iommufd (/dev/iommu)";
    default:
      return "unknown";
  }
}

std::string IommuText(const v1::IommuUnit& unit) {
  if (!unit.vtd()) return absl::StrCat(unit.name(), ": not VT-d");
  const std::string pasids = unit.has_pasid_bits() ? absl::StrCat(unit.pasid_bits()) : "unknown";
  return absl::StrCat(
      unit.name(), ": VT-d, ", Has(unit.has_scalable_mode(), unit.scalable_mode(), "scalable mode"),
      ", ", Has(unit.has_nested_translation(), unit.nested_translation(), "nested translation"),
      ", PASID bits ", pasids);
}

std::string IommusText(const v1::HostCheck& check) {
  if (check.iommus().empty()) return "IOMMU        none is active\n";
  std::string text;
  for (const v1::IommuUnit& unit : check.iommus()) {
    absl::StrAppend(&text, text.empty() ? "IOMMU        " : "             ", IommuText(unit), "\n");
  }
  return text;
}

std::string MemoryLockText(const v1::MemoryLockLimit& limit) {
  if (limit.unlimited()) return "Memory lock  unlimited\n";
  if (limit.bytes() == 0) return "Memory lock  unknown\n";
  return absl::StrCat("Memory lock  ", limit.bytes() >> 20, " MiB\n");
}

std::string NestingText(const v1::DeviceStatus& status) {
  switch (status.nest_granularity()) {
    case v1::NEST_GRANULARITY_PASID:
      return "PASID";
    case v1::NEST_GRANULARITY_RID:
      return "RID";
    default:
      return "no";
  }
}

std::string SiblingsText(const v1::DeviceCheck& device) {
  return OrDash(
      absl::StrJoin(device.siblings(), ",", [](std::string* text, const v1::GroupSibling& sibling) {
        absl::StrAppend(text, sibling.device(), "(", OrDash(sibling.driver()), ")");
      }));
}

std::string MissingText(const v1::DeviceCheck& device) {
  return OrDash(
      absl::StrJoin(device.findings(), ",", [](std::string* text, const v1::Finding& finding) {
        absl::StrAppend(text, finding.reason());
      }));
}

Row DeviceRow(const v1::DeviceCheck& device) {
  const v1::DeviceStatus& status = device.status();
  return {device.device(),
          status.iommu_group() < 0 ? "-" : absl::StrCat(status.iommu_group()),
          SiblingsText(device),
          OrDash(status.driver()),
          device.has_device_pasid_bits() ? absl::StrCat(device.device_pasid_bits()) : "?",
          NestingText(status),
          MissingText(device)};
}

std::string TableText(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      absl::StrAppendFormat(&text, "%-*s", static_cast<int>(widths[i]) + 3, row[i]);
    }
    absl::StrAppend(&text, row.back(), "\n");
  }
  return text;
}

std::string FindingsText(const v1::DeviceCheck& device) {
  std::string text;
  for (const v1::Finding& finding : device.findings()) {
    absl::StrAppend(&text, "\n", device.device(), " ", finding.reason(), "\n  ", finding.message(),
                    "\n");
    for (const std::string& fix : finding.fixes()) absl::StrAppend(&text, "  $ ", fix, "\n");
  }
  return text;
}

std::string SummaryText(const v1::HostCheck& check) {
  if (check.devices().empty()) {
    return "\nNo device to check: none is bound to vfio-pci or shows a PASID capability, which "
           "only root may read.\nName devices, or look at all of them with --all.\n";
  }
  const auto ready =
      absl::c_count_if(check.devices(), [](const auto& device) { return device.ready(); });
  return absl::StrCat("\n", ready, " of ", check.devices_size(), " devices are ready to nest\n");
}

}  // namespace

std::string HostCheckText(const v1::HostCheck& check) {
  std::string text = absl::StrCat(KernelText(check.kernel()), "Interface    ",
                                  InterfaceText(check.iommu_interface()), "\n", IommusText(check),
                                  MemoryLockText(check.memory_lock()));
  if (!check.devices().empty()) {
    std::vector<Row> rows = {
        {"DEVICE", "GROUP", "SIBLINGS", "DRIVER", "PASID BITS", "NESTING", "MISSING"}};
    for (const v1::DeviceCheck& device : check.devices()) rows.push_back(DeviceRow(device));
    absl::StrAppend(&text, "\n", TableText(rows));
  }
  for (const v1::DeviceCheck& device : check.devices()) {
    absl::StrAppend(&text, FindingsText(device));
  }
  return Safe(absl::StrCat(text, SummaryText(check)));
}

std::string HostCheckJson(const v1::HostCheck& check) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(check, &json, options).ok()) json.clear();
  return json;
}

int HostCheckExitCode(const v1::HostCheck& check) {
  if (check.devices().empty()) return 3;
  return absl::c_all_of(check.devices(), [](const auto& device) { return device.ready(); }) ? 0 : 1;
}

}  // namespace nestor
