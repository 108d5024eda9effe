// Lists: filters, pages and page tokens over the view.
#pragma once

#include "absl/status/statusor.h"
#include "nestor/v1/host_service.pb.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/virtual_machine_service.pb.h"
#include "server/core/view.h"

namespace nestor::server {

// Whether `filter` follows the grammar of the list requests: at most 2 KiB, at most 32 terms
// `key=value` or `key!=value` joined by AND, keys from `keys` or `label.{key}`. The error's
// message says where it goes wrong.
absl::Status CheckFilter(absl::string_view filter, const std::vector<absl::string_view>& keys);

// One page in order of name. The request has passed validation; a page_token that is forged,
// or from another parent or filter, is INVALID_ARGUMENT FIELD_INVALID "page_token". A page is
// made in time proportional to what it must look at, never to what is stored before it.
absl::StatusOr<v1::ListHostsResponse> List(const View& view, const v1::ListHostsRequest& request);
absl::StatusOr<v1::ListDevicesResponse> List(const View& view,
                                             const v1::ListDevicesRequest& request);
absl::StatusOr<v1::ListVirtualMachinesResponse> List(const View& view,
                                                     const v1::ListVirtualMachinesRequest& request);
absl::StatusOr<v1::ListPasidBindingsResponse> List(const View& view,
                                                   const v1::ListPasidBindingsRequest& request);

}  // namespace nestor::server
