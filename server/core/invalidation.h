// What to tell a host when cached translations of a binding are to be dropped.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "nestor/v1/agent_service.pb.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "server/core/view.h"

namespace nestor::server {

struct HostInvalidation {
  std::string host;          // id
  v1::Invalidation message;  // without id and fence
};

// The request is valid. NOT_FOUND: there is no such binding. Whether it is programmed is for
// the host to say.
absl::StatusOr<HostInvalidation> InvalidationOf(const View& view,
                                                const v1::InvalidateCacheRequest& request);

}  // namespace nestor::server
