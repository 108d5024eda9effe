// Requests refused at the edge, field by field, before anything is looked up.
//
// Each function returns OK, or INVALID_ARGUMENT FIELD_INVALID with a BadRequest that names
// every wrong field by its path from the request's root. All are pure and bounded in time by
// the size of the request. metadata and status that a client sends are ignored, but for
// metadata.etag and metadata.labels.
#pragma once

#include "absl/status/status.h"
#include "nestor/v1/host_admin_service.pb.h"
#include "nestor/v1/host_service.pb.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/virtual_machine_service.pb.h"
#include "nestor/v1/watch_service.pb.h"

namespace nestor::server {

absl::Status Validate(const v1::CreateHostRequest& request);
absl::Status Validate(const v1::GetHostRequest& request);
absl::Status Validate(const v1::ListHostsRequest& request);
absl::Status Validate(const v1::UpdateHostRequest& request);
absl::Status Validate(const v1::DeleteHostRequest& request);
absl::Status Validate(const v1::FenceHostRequest& request);
absl::Status Validate(const v1::DrainHostRequest& request);
absl::Status Validate(const v1::UndrainHostRequest& request);
absl::Status Validate(const v1::GetDeviceRequest& request);
absl::Status Validate(const v1::ListDevicesRequest& request);

absl::Status Validate(const v1::CreateVirtualMachineRequest& request);
absl::Status Validate(const v1::GetVirtualMachineRequest& request);
absl::Status Validate(const v1::ListVirtualMachinesRequest& request);
absl::Status Validate(const v1::UpdateVirtualMachineRequest& request);
absl::Status Validate(const v1::DeleteVirtualMachineRequest& request);
absl::Status Validate(const v1::ApplyVirtualMachineRequest& request);

absl::Status Validate(const v1::CreatePasidBindingRequest& request);
absl::Status Validate(const v1::GetPasidBindingRequest& request);
absl::Status Validate(const v1::ListPasidBindingsRequest& request);
absl::Status Validate(const v1::UpdatePasidBindingRequest& request);
absl::Status Validate(const v1::DeletePasidBindingRequest& request);
absl::Status Validate(const v1::BatchCreatePasidBindingsRequest& request);
absl::Status Validate(const v1::BatchDeletePasidBindingsRequest& request);
absl::Status Validate(const v1::WaitPasidBindingRequest& request);
absl::Status Validate(const v1::GetPasidBindingTimelineRequest& request);
absl::Status Validate(const v1::ExplainPasidBindingRequest& request);
absl::Status Validate(const v1::InvalidateCacheRequest& request);

absl::Status Validate(const v1::WatchRequest& request);

}  // namespace nestor::server
