// Whether requests of the local API are well formed, field by field. Pure.
#pragma once

#include "absl/status/status.h"
#include "nestor/v1/local_agent_service.pb.h"

namespace nestor::agent {

// INVALID_ARGUMENT FIELD_INVALID that names each field that is not.
absl::Status Validate(const v1::CheckHostRequest& request);
absl::Status Validate(const v1::DumpRequest& request);
absl::Status Validate(const v1::BindRequest& request);
absl::Status Validate(const v1::UnbindRequest& request);
absl::Status Validate(const v1::InvalidateRequest& request);
absl::Status Validate(const v1::DmaTestRequest& request);

}  // namespace nestor::agent
