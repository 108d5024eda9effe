// How Nestor's programs speak to each other: TLS in which both ends show a certificate, or
// plaintext that stays on this machine.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/support/tls_files.h"

namespace nestor {

// What a program's flags say about it.
struct TransportSecurity {
  TlsFiles tls = {};
  bool insecure = false;
  // A changed file is taken up within so many seconds; at least 1. Ten are short beside the
  // hours for which even short-lived certificates overlap.
  int reload_seconds = 10;
};

// Whether `address` may be listened on or dialled so: with all three files and not `insecure`,
// or as CheckPlaintext. INVALID_ARGUMENT otherwise, with the flags to correct.
absl::Status CheckTransport(const TransportSecurity& security, absl::string_view address);

// The credentials with which to listen on `address`. With TLS: clients must show a certificate
// signed by `ca`. Handshakes after a file has changed use the new one; connections that are
// open stay. Errors of CheckTransport, and of CheckTlsFiles at `now`.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TransportSecurity& security, absl::string_view address, absl::Time now);

// The same to dial `address`. With TLS: the server's certificate must be signed by `ca` and be
// valid for the address's host; for a unix socket that is "localhost".
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const TransportSecurity& security, absl::string_view address, absl::Time now);

}  // namespace nestor
