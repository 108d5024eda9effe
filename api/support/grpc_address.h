// What addresses Nestor's programs listen on and dial, and how.
#pragma once

#include <grpcpp/support/channel_arguments.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nestor {

// Whether `address` can only be reached from this machine: "unix:PATH", "unix-abstract:NAME",
// or a loopback host ("127.x.y.z", "[::1]", "localhost") with a port.
bool IsLocalAddress(absl::string_view address);

// Plaintext is spoken only where it was asked for (`insecure`) and cannot leave the machine.
// INVALID_ARGUMENT otherwise, with what to do.
absl::Status CheckPlaintext(absl::string_view address, bool insecure);

// Keepalive (30 s, 10 s), message limits (4 MiB) and reconnect backoff (0.2-5 s) of every
// client.
grpc::ChannelArguments ClientChannelArguments();

}  // namespace nestor
