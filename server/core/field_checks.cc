#include "server/core/field_checks.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/support/resource_name.h"

namespace nestor::server {
namespace {

constexpr int kMaxDevices = 64;
constexpr int kMaxLabels = 64;
constexpr size_t kMaxLabelText = 63;
constexpr size_t kMaxPageToken = 512;
constexpr size_t kEtagLength = 16;
constexpr size_t kMaxEvidence = 512;
constexpr uint64_t kPageSize = 4096;
// Intel SDM volume 3, 4.1.4: MAXPHYADDR is at most 52.
constexpr int kMaxPhysicalBits = 52;
// PCIe 6.0, 10.5.1: a PASID has up to 20 bits. PASID 0 is the request-id's own.
constexpr uint32_t kMaxPasid = (1u << 20) - 1;

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

bool IsLabelText(absl::string_view text, absl::string_view extra, bool lower_only) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_isdigit(c) || absl::ascii_islower(c) ||
           (!lower_only && absl::ascii_isupper(c)) || extra.find(c) != absl::string_view::npos;
  });
}

void CheckMetadata(const v1::Metadata& metadata, const FieldPath& path,
                   FieldViolations* violations) {
  CheckEtag(metadata.etag(), {path, ".etag"}, violations);
  if (metadata.labels_size() > kMaxLabels) {
    violations->Add({path, ".labels"}, absl::StrCat("has more than ", kMaxLabels, " entries"));
    return;
  }
  for (const auto& [key, value] : metadata.labels()) {
    const std::string field = absl::StrCat(path.ToString(), ".labels[", Printable(key), "]");
    if (key.empty() || key.size() > kMaxLabelText || !absl::ascii_islower(key[0]) ||
        !IsLabelText(key, "._/-", true)) {
      violations->Add(field, "a key is 1-63 characters [a-z0-9._/-] starting with a letter");
    }
    if (value.size() > kMaxLabelText || !IsLabelText(value, "._-", false)) {
      violations->Add(field, "a value is at most 63 characters [A-Za-z0-9._-]");
    }
  }
}

void CheckDevices(const v1::Placement& placement, const FieldPath& path,
                  FieldViolations* violations) {
  if (placement.devices_size() > kMaxDevices) {
    violations->Add(path, absl::StrCat("has more than ", kMaxDevices, " devices"));
    return;
  }
  std::set<std::string> seen;
  for (int i = 0; i < placement.devices_size(); ++i) {
    const std::string& device = placement.devices(i);
    const std::string field = absl::StrCat(path.ToString(), "[", i, "]");
    if (!IsBdf(device)) {
      violations->Add(field, "is no PCI address like 0000:3b:00.0");
    } else if (!seen.insert(device).second) {
      violations->Add(field, absl::StrCat(device, " is listed twice"));
    }
  }
}

void CheckPasid(uint32_t pasid, const FieldPath& field, FieldViolations* violations) {
  if (pasid < 1 || pasid > kMaxPasid) {
    violations->Add(field, absl::StrCat("must be between 1 and ", kMaxPasid,
                                        "; PASID 0 belongs to requests without PASID"));
  }
}

void CheckTarget(const v1::PasidBindingSpec& spec, const FieldPath& path, bool whole,
                 FieldViolations* violations) {
  switch (spec.target_case()) {
    case v1::PasidBindingSpec::kRid:
      break;
    case v1::PasidBindingSpec::kPasid:
      CheckPasid(spec.pasid(), {path, ".pasid"}, violations);
      break;
    case v1::PasidBindingSpec::kAnyOf:
      CheckPasid(spec.any_of().first(), {path, ".any_of.first"}, violations);
      CheckPasid(spec.any_of().last(), {path, ".any_of.last"}, violations);
      if (spec.any_of().last() < spec.any_of().first()) {
        violations->Add({path, ".any_of.last"}, "must not be below first");
      }
      break;
    case v1::PasidBindingSpec::TARGET_NOT_SET:
      if (whole) violations->Add({path, ".target"}, "one of rid, pasid and any_of must be set");
  }
}

}  // namespace

void CheckName(const absl::Status& parsed, const FieldPath& field, FieldViolations* violations) {
  if (!parsed.ok()) violations->Add(field, parsed.message());
}

void CheckRequestId(const std::string& request_id, FieldViolations* violations) {
  if (!request_id.empty() && !IsUuid(request_id)) {
    violations->Add("request_id", "must be a UUID, like 0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10");
  }
}

void CheckEtag(const std::string& etag, const FieldPath& field, FieldViolations* violations) {
  const bool plain = std::all_of(etag.begin(), etag.end(), absl::ascii_isxdigit);
  if (etag.size() > kEtagLength || !plain)
    violations->Add(field, "is no etag that Nestor gave out");
}

void CheckEvidence(const std::string& evidence, const FieldPath& field,
                   FieldViolations* violations) {
  const bool is_printable = std::none_of(evidence.begin(), evidence.end(),
                                         [](unsigned char c) { return absl::ascii_iscntrl(c); });
  if (absl::StripAsciiWhitespace(evidence).empty() || evidence.size() > kMaxEvidence ||
      !is_printable) {
    violations->Add(field, absl::StrCat("must say in at most ", kMaxEvidence,
                                        " bytes, without control characters, what it rests on"));
  }
}

void CheckMask(const google::protobuf::FieldMask& mask,
               const std::vector<absl::string_view>& allowed, FieldViolations* violations) {
  for (const std::string& path : mask.paths()) {
    if (std::find(allowed.begin(), allowed.end(), path) == allowed.end()) {
      // One is enough: there may be a million.
      return violations->Add("update_mask", absl::StrCat("\"", Printable(path), "\" is not one of ",
                                                         absl::StrJoin(allowed, ", ")));
    }
  }
}

void CheckPage(int32_t page_size, const std::string& page_token, const std::string& filter,
               const FilterKeys& keys, FieldViolations* violations) {
  if (page_size < 0) violations->Add("page_size", "must not be negative");
  if (page_token.size() > kMaxPageToken) violations->Add("page_token", "is too long");
  if (auto parsed = Filter::Parse(filter, keys); !parsed.ok()) {
    violations->Add("filter", parsed.status().message());
  }
}

void CheckHost(const v1::Host& host, FieldViolations* violations) {
  CheckName(HostName::Parse(host.name()).status(), "host.name", violations);
  CheckMetadata(host.metadata(), "host.metadata", violations);
}

void CheckVirtualMachine(const v1::VirtualMachine& machine, bool whole,
                         FieldViolations* violations) {
  CheckName(VirtualMachineName::Parse(machine.name()).status(), "virtual_machine.name", violations);
  CheckMetadata(machine.metadata(), "virtual_machine.metadata", violations);
  const v1::Placement& placement = machine.spec().placement();
  if (whole || !placement.host().empty()) {
    CheckName(HostName::Parse(placement.host()).status(), "virtual_machine.spec.placement.host",
              violations);
  }
  CheckDevices(placement, "virtual_machine.spec.placement.devices", violations);
}

void CheckPageTable(const v1::PageTable& table, const FieldPath& path,
                    FieldViolations* violations) {
  if (table.format() == v1::PageTable::FORMAT_UNSPECIFIED ||
      !v1::PageTable::Format_IsValid(table.format())) {
    violations->Add({path, ".format"}, "must be VTD_S1, ARM_SMMUV3 or AMD_V2");
  }
  if (table.root() % kPageSize != 0) {
    violations->Add({path, ".root"}, "must be a multiple of 4096 (0x1000)");
  }
  if (table.root() >> kMaxPhysicalBits != 0) {
    violations->Add({path, ".root"}, "must be below 2^52");
  }
  if (table.address_width() != 48 && table.address_width() != 57) {
    violations->Add({path, ".address_width"}, "must be 48 (4 levels) or 57 (5 levels)");
  }
}

void CheckPasidBinding(const v1::PasidBinding& binding, const FieldPath& path, bool whole,
                       FieldViolations* violations) {
  CheckName(PasidBindingName::Parse(binding.name()).status(), {path, ".name"}, violations);
  CheckMetadata(binding.metadata(), {path, ".metadata"}, violations);
  const v1::PasidBindingSpec& spec = binding.spec();
  if ((whole || !spec.device().empty()) && !IsBdf(spec.device())) {
    violations->Add({path, ".spec.device"}, "must be a PCI address like 0000:3b:00.0");
  }
  CheckTarget(spec, {path, ".spec"}, whole, violations);
  if (whole) CheckPageTable(spec.page_table(), {path, ".spec.page_table"}, violations);
  if (!spec.vm_instance().empty() && !IsUuid(spec.vm_instance())) {
    violations->Add({path, ".spec.vm_instance"}, "must be empty or a UUID from status.vm_instance");
  }
}

}  // namespace nestor::server
