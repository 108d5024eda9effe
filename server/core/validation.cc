#include "server/core/validation.h"

#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "server/core/list_query.h"

namespace nestor::server {
namespace {

constexpr int kMaxBatch = 1000;
constexpr int kMaxAppliedBindings = 4096;
constexpr int kMaxDevices = 64;
constexpr int kMaxLabels = 64;
constexpr size_t kMaxLabelText = 63;
constexpr size_t kMaxTokenText = 512;
constexpr int64_t kMaxWaitSeconds = 300;
constexpr uint64_t kPageSize = 4096;
// Intel SDM volume 3, 4.1.4: MAXPHYADDR is at most 52.
constexpr int kMaxPhysicalBits = 52;
// PCIe 6.0, 10.5.1: a PASID has 20 bits. PASID 0 is the request-id's own.
constexpr uint32_t kMaxPasid = (1u << 20) - 1;

void CheckName(const absl::Status& parsed, absl::string_view field, FieldViolations* violations) {
  if (!parsed.ok()) violations->Add(field, parsed.message());
}

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

void CheckRequestId(const std::string& request_id, FieldViolations* violations) {
  if (!request_id.empty() && !IsUuid(request_id)) {
    violations->Add("request_id", "must be a UUID, like 0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10");
  }
}

void CheckEtagText(const std::string& etag, absl::string_view field, FieldViolations* violations) {
  const bool plain = std::all_of(etag.begin(), etag.end(), absl::ascii_isxdigit);
  if (etag.size() > 16 || !plain) violations->Add(field, "is no etag that Nestor gave out");
}

bool IsLabelText(absl::string_view text, absl::string_view extra, bool lower_only) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_isdigit(c) || absl::ascii_islower(c) ||
           (!lower_only && absl::ascii_isupper(c)) || extra.find(c) != absl::string_view::npos;
  });
}

void CheckMetadata(const v1::Metadata& metadata, const std::string& path,
                   FieldViolations* violations) {
  CheckEtagText(metadata.etag(), path + ".etag", violations);
  if (metadata.labels_size() > kMaxLabels) {
    violations->Add(path + ".labels", absl::StrCat("has more than ", kMaxLabels, " entries"));
    return;
  }
  for (const auto& [key, value] : metadata.labels()) {
    const std::string field = absl::StrCat(path, ".labels[", Printable(key), "]");
    if (key.empty() || key.size() > kMaxLabelText || !absl::ascii_islower(key[0]) ||
        !IsLabelText(key, "._/-", true)) {
      violations->Add(field, "a key is 1-63 characters [a-z0-9._/-] starting with a letter");
    }
    if (value.size() > kMaxLabelText || !IsLabelText(value, "._-", false)) {
      violations->Add(field, "a value is at most 63 characters [A-Za-z0-9._-]");
    }
  }
}

void CheckMask(const google::protobuf::FieldMask& mask,
               const std::vector<absl::string_view>& allowed, FieldViolations* violations) {
  for (const std::string& path : mask.paths()) {
    if (std::find(allowed.begin(), allowed.end(), path) == allowed.end()) {
      violations->Add("update_mask", absl::StrCat("\"", Printable(path), "\" is not one of ",
                                                  absl::StrJoin(allowed, ", ")));
    }
  }
}

void CheckPage(int32_t page_size, const std::string& page_token, const std::string& filter,
               const std::vector<absl::string_view>& filter_keys, FieldViolations* violations) {
  if (page_size < 0) violations->Add("page_size", "must not be negative");
  if (page_token.size() > kMaxTokenText) violations->Add("page_token", "is too long");
  if (absl::Status status = CheckFilter(filter, filter_keys); !status.ok()) {
    violations->Add("filter", status.message());
  }
}

void CheckHost(const v1::Host& host, FieldViolations* violations) {
  CheckName(HostName::Parse(host.name()).status(), "host.name", violations);
  CheckMetadata(host.metadata(), "host.metadata", violations);
}

void CheckDevices(const v1::Placement& placement, const std::string& path,
                  FieldViolations* violations) {
  if (placement.devices_size() > kMaxDevices) {
    violations->Add(path, absl::StrCat("has more than ", kMaxDevices, " devices"));
    return;
  }
  std::set<std::string> seen;
  for (int i = 0; i < placement.devices_size(); ++i) {
    const std::string& device = placement.devices(i);
    const std::string field = absl::StrCat(path, "[", i, "]");
    if (!IsBdf(device)) {
      violations->Add(field, "is no PCI address like 0000:3b:00.0");
    } else if (!seen.insert(device).second) {
      violations->Add(field, absl::StrCat(device, " is listed twice"));
    }
  }
}

void CheckMachine(const v1::VirtualMachine& machine, bool whole, FieldViolations* violations) {
  CheckName(VirtualMachineName::Parse(machine.name()).status(), "virtual_machine.name", violations);
  CheckMetadata(machine.metadata(), "virtual_machine.metadata", violations);
  const v1::Placement& placement = machine.spec().placement();
  if (whole || !placement.host().empty()) {
    CheckName(HostName::Parse(placement.host()).status(), "virtual_machine.spec.placement.host",
              violations);
  }
  CheckDevices(placement, "virtual_machine.spec.placement.devices", violations);
}

void CheckPageTable(const v1::PageTable& table, const std::string& path,
                    FieldViolations* violations) {
  if (table.format() == v1::PageTable::FORMAT_UNSPECIFIED ||
      !v1::PageTable::Format_IsValid(table.format())) {
    violations->Add(path + ".format", "must be VTD_S1, ARM_SMMUV3 or AMD_V2");
  }
  if (table.root() % kPageSize != 0) {
    violations->Add(path + ".root", "must be a multiple of 4096 (0x1000)");
  }
  if (table.root() >> kMaxPhysicalBits != 0) {
    violations->Add(path + ".root", "must be below 2^52");
  }
  if (table.address_width() != 48 && table.address_width() != 57) {
    violations->Add(path + ".address_width", "must be 48 (4 levels) or 57 (5 levels)");
  }
}

void CheckPasid(uint32_t pasid, const std::string& field, FieldViolations* violations) {
  if (pasid < 1 || pasid > kMaxPasid) {
    violations->Add(field, absl::StrCat("must be between 1 and ", kMaxPasid,
                                        "; PASID 0 belongs to requests without PASID"));
  }
}

void CheckTarget(const v1::PasidBindingSpec& spec, const std::string& path, bool whole,
                 FieldViolations* violations) {
  switch (spec.target_case()) {
    case v1::PasidBindingSpec::kRid:
      break;
    case v1::PasidBindingSpec::kPasid:
      CheckPasid(spec.pasid(), path + ".pasid", violations);
      break;
    case v1::PasidBindingSpec::kAnyOf:
      CheckPasid(spec.any_of().first(), path + ".any_of.first", violations);
      CheckPasid(spec.any_of().last(), path + ".any_of.last", violations);
      if (spec.any_of().last() < spec.any_of().first()) {
        violations->Add(path + ".any_of.last", "must not be below first");
      }
      break;
    case v1::PasidBindingSpec::TARGET_NOT_SET:
      if (whole) violations->Add(path + ".target", "one of rid, pasid and any_of must be set");
  }
}

// `whole`: the binding is created, so everything required must be there; otherwise what is
// given is checked, and the page table if `with_table`.
void CheckBinding(const v1::PasidBinding& binding, const std::string& path, bool whole,
                  bool with_table, FieldViolations* violations) {
  CheckName(PasidBindingName::Parse(binding.name()).status(), path + ".name", violations);
  CheckMetadata(binding.metadata(), path + ".metadata", violations);
  const v1::PasidBindingSpec& spec = binding.spec();
  if ((whole || !spec.device().empty()) && !IsBdf(spec.device())) {
    violations->Add(path + ".spec.device", "must be a PCI address like 0000:3b:00.0");
  }
  CheckTarget(spec, path + ".spec", whole, violations);
  if (with_table) CheckPageTable(spec.page_table(), path + ".spec.page_table", violations);
  if (!spec.vm_instance().empty() && !IsUuid(spec.vm_instance())) {
    violations->Add(path + ".spec.vm_instance", "must be empty or a UUID from status.vm_instance");
  }
}

}  // namespace

absl::Status Validate(const v1::CreateHostRequest& request) {
  FieldViolations violations;
  CheckHost(request.host(), &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::GetHostRequest& request) {
  FieldViolations violations;
  CheckName(HostName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ListHostsRequest& request) {
  FieldViolations violations;
  CheckPage(request.page_size(), request.page_token(), request.filter(), {"state"}, &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::UpdateHostRequest& request) {
  FieldViolations violations;
  CheckHost(request.host(), &violations);
  CheckMask(request.update_mask(), {"metadata.labels", "spec", "spec.cordoned"}, &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::DeleteHostRequest& request) {
  FieldViolations violations;
  CheckName(HostName::Parse(request.name()).status(), "name", &violations);
  CheckEtagText(request.etag(), "etag", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::GetDeviceRequest& request) {
  FieldViolations violations;
  CheckName(DeviceName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ListDevicesRequest& request) {
  FieldViolations violations;
  CheckName(ParseHostParent(request.parent()).status(), "parent", &violations);
  CheckPage(request.page_size(), request.page_token(), request.filter(), {"host", "driver"},
            &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::CreateVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckMachine(request.virtual_machine(), true, &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::GetVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckName(VirtualMachineName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ListVirtualMachinesRequest& request) {
  FieldViolations violations;
  CheckName(ParseProjectParent(request.parent()).status(), "parent", &violations);
  CheckPage(request.page_size(), request.page_token(), request.filter(), {"host", "state"},
            &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::UpdateVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckMachine(request.virtual_machine(), false, &violations);
  CheckMask(request.update_mask(),
            {"metadata.labels", "spec", "spec.placement", "spec.placement.devices"}, &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::DeleteVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckName(VirtualMachineName::Parse(request.name()).status(), "name", &violations);
  CheckEtagText(request.etag(), "etag", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ApplyVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckMachine(request.virtual_machine(), true, &violations);
  CheckRequestId(request.request_id(), &violations);
  if (request.pasid_bindings_size() > kMaxAppliedBindings) {
    violations.Add("pasid_bindings", absl::StrCat("has more than ", kMaxAppliedBindings));
    return violations.ToStatus();
  }
  std::set<std::string> seen;
  for (int i = 0; i < request.pasid_bindings_size(); ++i) {
    const v1::PasidBinding& binding = request.pasid_bindings(i);
    const std::string path = absl::StrCat("pasid_bindings[", i, "]");
    CheckBinding(binding, path, true, true, &violations);
    auto name = PasidBindingName::Parse(binding.name());
    if (name.ok() && name->Parent().ToString() != request.virtual_machine().name()) {
      violations.Add(path + ".name", "must lie under virtual_machine.name");
    } else if (!seen.insert(binding.name()).second) {
      violations.Add(path + ".name", "is in the request twice");
    }
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::CreatePasidBindingRequest& request) {
  FieldViolations violations;
  CheckBinding(request.pasid_binding(), "pasid_binding", true, true, &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::GetPasidBindingRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ListPasidBindingsRequest& request) {
  FieldViolations violations;
  CheckName(ParseVirtualMachineParent(request.parent()).status(), "parent", &violations);
  CheckPage(request.page_size(), request.page_token(), request.filter(),
            {"host", "device", "state"}, &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::UpdatePasidBindingRequest& request) {
  FieldViolations violations;
  const auto& paths = request.update_mask().paths();
  const bool whole_table =
      paths.empty() || std::find(paths.begin(), paths.end(), "spec.page_table") != paths.end();
  CheckBinding(request.pasid_binding(), "pasid_binding", false, whole_table, &violations);
  CheckMask(
      request.update_mask(),
      {"metadata.labels", "spec.page_table", "spec.vm_instance", "spec.allow_translation_gap"},
      &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::DeletePasidBindingRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  CheckEtagText(request.etag(), "etag", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::BatchCreatePasidBindingsRequest& request) {
  FieldViolations violations;
  CheckRequestId(request.request_id(), &violations);
  if (request.requests().empty() || request.requests_size() > kMaxBatch) {
    violations.Add("requests", absl::StrCat("must have 1 to ", kMaxBatch, " entries"));
    return violations.ToStatus();
  }
  for (int i = 0; i < request.requests_size(); ++i) {
    const v1::CreatePasidBindingRequest& one = request.requests(i);
    const std::string path = absl::StrCat("requests[", i, "]");
    CheckBinding(one.pasid_binding(), path + ".pasid_binding", true, true, &violations);
    if (!one.request_id().empty()) {
      violations.Add(path + ".request_id", "belongs to the batch, not to one of it");
    }
    if (one.validate_only()) {
      violations.Add(path + ".validate_only", "belongs to the batch, not to one of it");
    }
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::BatchDeletePasidBindingsRequest& request) {
  FieldViolations violations;
  CheckRequestId(request.request_id(), &violations);
  if (request.requests().empty() || request.requests_size() > kMaxBatch) {
    violations.Add("requests", absl::StrCat("must have 1 to ", kMaxBatch, " entries"));
    return violations.ToStatus();
  }
  for (int i = 0; i < request.requests_size(); ++i) {
    const v1::DeletePasidBindingRequest& one = request.requests(i);
    const std::string path = absl::StrCat("requests[", i, "]");
    CheckName(PasidBindingName::Parse(one.name()).status(), path + ".name", &violations);
    CheckEtagText(one.etag(), path + ".etag", &violations);
    if (!one.request_id().empty()) {
      violations.Add(path + ".request_id", "belongs to the batch, not to one of it");
    }
    if (one.validate_only()) {
      violations.Add(path + ".validate_only", "belongs to the batch, not to one of it");
    }
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::WaitPasidBindingRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  if (request.generation() < 0) violations.Add("generation", "must not be negative");
  if (!v1::WaitPasidBindingRequest::Want_IsValid(request.want())) {
    violations.Add("want", "is unknown");
  }
  const google::protobuf::Duration& timeout = request.timeout();
  const bool positive =
      timeout.seconds() >= 0 && timeout.nanos() >= 0 && timeout.seconds() + timeout.nanos() > 0;
  if (request.has_timeout() &&
      (!positive || timeout.seconds() > kMaxWaitSeconds || timeout.nanos() > 999'999'999)) {
    violations.Add("timeout",
                   absl::StrCat("must be more than 0 s and at most ", kMaxWaitSeconds, " s"));
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::ExplainPasidBindingRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::WatchRequest& request) {
  FieldViolations violations;
  if (request.kinds().empty()) violations.Add("kinds", "must name at least one kind");
  std::set<int> seen;
  for (int i = 0; i < std::min(request.kinds_size(), 16); ++i) {
    const int kind = request.kinds(i);
    const std::string field = absl::StrCat("kinds[", i, "]");
    if (kind == v1::WatchRequest::KIND_UNSPECIFIED || !v1::WatchRequest::Kind_IsValid(kind)) {
      violations.Add(field, "must be HOST, VIRTUAL_MACHINE or PASID_BINDING");
    } else if (!seen.insert(kind).second) {
      violations.Add(field, "is listed twice");
    }
  }
  const std::string& parent = request.parent();
  if (!parent.empty() && !ParseProjectParent(parent).ok() &&
      !VirtualMachineName::Parse(parent).ok()) {
    violations.Add("parent",
                   "must be empty, projects/{project} or "
                   "projects/{project}/virtualMachines/{virtual_machine}");
  }
  if (request.resume_token().size() > kMaxTokenText) {
    violations.Add("resume_token", "is too long");
  }
  return violations.ToStatus();
}

}  // namespace nestor::server
