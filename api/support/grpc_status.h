// absl::Status <-> grpc::Status, in one place for every program.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace nestor {

// Keeps code, message and typed details (as the standard grpc-status-details-bin).
grpc::Status ToGrpcStatus(const absl::Status& status);

// The reverse; a detail blob that does not parse is dropped, the code and message stay.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace nestor
