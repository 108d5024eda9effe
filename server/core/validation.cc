#include "server/core/validation.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "api/support/address_range.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "server/core/field_checks.h"
#include "server/core/list_query.h"

namespace nestor::server {
namespace {

constexpr int kMaxBatch = 1000;
constexpr int kMaxAppliedBindings = 4096;
constexpr size_t kMaxResumeToken = 512;
constexpr int64_t kMaxWaitSeconds = 300;

// What belongs to a batch and not to one request of it.
template <typename Request>
void CheckPartOfBatch(const Request& request, const FieldPath& path, FieldViolations* violations) {
  if (!request.request_id().empty()) {
    violations->Add({path, ".request_id"}, "belongs to the batch, not to one of it");
  }
  if (request.validate_only()) {
    violations->Add({path, ".validate_only"}, "belongs to the batch, not to one of it");
  }
}

// Whether the batch may be looked at one by one.
template <typename Batch>
bool CheckBatch(const Batch& batch, FieldViolations* violations) {
  CheckRequestId(batch.request_id(), violations);
  const bool fits = !batch.requests().empty() && batch.requests_size() <= kMaxBatch;
  if (!fits) violations->Add("requests", absl::StrCat("must have 1 to ", kMaxBatch, " entries"));
  return fits;
}

// More than nothing, at most the longest wait.
bool IsTimeout(const google::protobuf::Duration& timeout) {
  constexpr int32_t kNanosPerSecond = 1'000'000'000;
  if (timeout.seconds() < 0 || timeout.nanos() < 0 || timeout.nanos() >= kNanosPerSecond) {
    return false;
  }
  if (timeout.seconds() == 0) return timeout.nanos() > 0;
  return timeout.seconds() < kMaxWaitSeconds ||
         (timeout.seconds() == kMaxWaitSeconds && timeout.nanos() == 0);
}

// What a watch can be narrowed to.
bool IsWatchParent(absl::string_view parent) {
  auto project = ParseProjectParent(parent);
  return (project.ok() && !project->empty()) || VirtualMachineName::Parse(parent).ok();
}

// A request that names a host and nothing else.
template <typename Request>
absl::Status CheckNamedHost(const Request& request) {
  FieldViolations violations;
  CheckName(HostName::Parse(request.name()).status(), "name", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
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
  CheckPage(request.page_size(), request.page_token(), request.filter(), HostFilterKeys(),
            &violations);
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
  CheckEtag(request.etag(), "etag", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::FenceHostRequest& request) {
  FieldViolations violations;
  CheckName(HostName::Parse(request.name()).status(), "name", &violations);
  CheckEvidence(request.evidence(), "evidence", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::DrainHostRequest& request) { return CheckNamedHost(request); }

absl::Status Validate(const v1::UndrainHostRequest& request) { return CheckNamedHost(request); }

absl::Status Validate(const v1::GetDeviceRequest& request) {
  FieldViolations violations;
  CheckName(DeviceName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ListDevicesRequest& request) {
  FieldViolations violations;
  CheckName(ParseHostParent(request.parent()).status(), "parent", &violations);
  CheckPage(request.page_size(), request.page_token(), request.filter(), DeviceFilterKeys(),
            &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::CreateVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckVirtualMachine(request.virtual_machine(), true, &violations);
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
  CheckPage(request.page_size(), request.page_token(), request.filter(), VirtualMachineFilterKeys(),
            &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::UpdateVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckVirtualMachine(request.virtual_machine(), false, &violations);
  CheckMask(request.update_mask(),
            {"metadata.labels", "spec", "spec.placement", "spec.placement.devices"}, &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::DeleteVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckName(VirtualMachineName::Parse(request.name()).status(), "name", &violations);
  CheckEtag(request.etag(), "etag", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ApplyVirtualMachineRequest& request) {
  FieldViolations violations;
  CheckVirtualMachine(request.virtual_machine(), true, &violations);
  CheckRequestId(request.request_id(), &violations);
  if (request.pasid_bindings_size() > kMaxAppliedBindings) {
    violations.Add("pasid_bindings", absl::StrCat("has more than ", kMaxAppliedBindings));
    return violations.ToStatus();
  }
  std::set<std::string> seen;
  for (int i = 0; i < request.pasid_bindings_size(); ++i) {
    const v1::PasidBinding& binding = request.pasid_bindings(i);
    const std::string path = absl::StrCat("pasid_bindings[", i, "]");
    CheckPasidBinding(binding, path, true, &violations);
    auto name = PasidBindingName::Parse(binding.name());
    if (name.ok() && name->Parent().ToString() != request.virtual_machine().name()) {
      violations.Add({path, ".name"}, "must lie under virtual_machine.name");
    } else if (!seen.insert(binding.name()).second) {
      violations.Add({path, ".name"}, "is in the request twice");
    }
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::CreatePasidBindingRequest& request) {
  FieldViolations violations;
  CheckPasidBinding(request.pasid_binding(), "pasid_binding", true, &violations);
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
  CheckPage(request.page_size(), request.page_token(), request.filter(), PasidBindingFilterKeys(),
            &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::UpdatePasidBindingRequest& request) {
  FieldViolations violations;
  const auto& paths = request.update_mask().paths();
  const bool takes_table =
      paths.empty() || std::find(paths.begin(), paths.end(), "spec.page_table") != paths.end();
  CheckPasidBinding(request.pasid_binding(), "pasid_binding", false, &violations);
  if (takes_table) {
    CheckPageTable(request.pasid_binding().spec().page_table(), "pasid_binding.spec.page_table",
                   &violations);
  }
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
  CheckEtag(request.etag(), "etag", &violations);
  CheckRequestId(request.request_id(), &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::BatchCreatePasidBindingsRequest& request) {
  FieldViolations violations;
  if (!CheckBatch(request, &violations)) return violations.ToStatus();
  for (int i = 0; i < request.requests_size(); ++i) {
    const std::string path = absl::StrCat("requests[", i, "]");
    CheckPasidBinding(request.requests(i).pasid_binding(), {path, ".pasid_binding"}, true,
                      &violations);
    CheckPartOfBatch(request.requests(i), path, &violations);
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::BatchDeletePasidBindingsRequest& request) {
  FieldViolations violations;
  if (!CheckBatch(request, &violations)) return violations.ToStatus();
  for (int i = 0; i < request.requests_size(); ++i) {
    const v1::DeletePasidBindingRequest& one = request.requests(i);
    const std::string path = absl::StrCat("requests[", i, "]");
    CheckName(PasidBindingName::Parse(one.name()).status(), {path, ".name"}, &violations);
    CheckEtag(one.etag(), {path, ".etag"}, &violations);
    CheckPartOfBatch(one, path, &violations);
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
  if (request.has_timeout() && !IsTimeout(request.timeout())) {
    violations.Add("timeout",
                   absl::StrCat("must be more than 0 s and at most ", kMaxWaitSeconds, " s"));
  }
  return violations.ToStatus();
}

absl::Status Validate(const v1::GetPasidBindingTimelineRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::ExplainPasidBindingRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  return violations.ToStatus();
}

absl::Status Validate(const v1::InvalidateCacheRequest& request) {
  FieldViolations violations;
  CheckName(PasidBindingName::Parse(request.name()).status(), "name", &violations);
  if (request.has_range()) CheckAddressRange(request.range(), "range", &violations);
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
  if (!request.parent().empty() && !IsWatchParent(request.parent())) {
    violations.Add("parent",
                   "must be empty, projects/{project} or "
                   "projects/{project}/virtualMachines/{virtual_machine}");
  }
  if (request.resume_token().size() > kMaxResumeToken) {
    violations.Add("resume_token", "is too long");
  }
  return violations.ToStatus();
}

}  // namespace nestor::server
