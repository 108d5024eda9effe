// Lists: filters, pages and page tokens over the view.
#pragma once

#include "absl/status/statusor.h"
#include "nestor/v1/host_service.pb.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/virtual_machine_service.pb.h"
#include "server/core/filter.h"
#include "server/core/view.h"

namespace nestor::server {

// What each list can be filtered by.
const FilterKeys& HostFilterKeys();
const FilterKeys& DeviceFilterKeys();
const FilterKeys& VirtualMachineFilterKeys();
const FilterKeys& PasidBindingFilterKeys();

// One page in order of name. The request has passed validation; a page_token that is forged,
// or from another parent or filter, is INVALID_ARGUMENT FIELD_INVALID "page_token". A page
// looks at no more than 10,000 resources and holds no more than 2 MiB, so one may be short
// where a strict filter or large resources make it so; its next_page_token says that there is
// more.
absl::StatusOr<v1::ListHostsResponse> List(const View& view, const v1::ListHostsRequest& request);
absl::StatusOr<v1::ListDevicesResponse> List(const View& view,
                                             const v1::ListDevicesRequest& request);
absl::StatusOr<v1::ListVirtualMachinesResponse> List(const View& view,
                                                     const v1::ListVirtualMachinesRequest& request);
absl::StatusOr<v1::ListPasidBindingsResponse> List(const View& view,
                                                   const v1::ListPasidBindingsRequest& request);

}  // namespace nestor::server
