#include "api/support/tls_credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "api/support/grpc_address.h"
#include "api/support/status_macros.h"

namespace nestor {
namespace {

using ::grpc::experimental::FileWatcherCertificateProvider;
using ::grpc::experimental::TlsChannelCredentialsOptions;
using ::grpc::experimental::TlsServerCredentialsOptions;

std::shared_ptr<FileWatcherCertificateProvider> Watch(const TransportSecurity& security) {
  return std::make_shared<FileWatcherCertificateProvider>(
      security.tls.key, security.tls.certificate, security.tls.ca,
      static_cast<unsigned>(security.reload_seconds));
}

}  // namespace

absl::Status CheckTransport(const TransportSecurity& security, absl::string_view address) {
  const TlsFiles& tls = security.tls;
  if (tls.certificate.empty() && tls.key.empty() && tls.ca.empty()) {
    return CheckPlaintext(address, security.insecure);
  }
  if (security.insecure) {
    return absl::InvalidArgumentError(
        "--insecure contradicts --tls-cert, --tls-key and --tls-ca: leave out the one or the "
        "others");
  }
  if (tls.certificate.empty() || tls.key.empty() || tls.ca.empty()) {
    return absl::InvalidArgumentError(
        "TLS needs all of --tls-cert, --tls-key and --tls-ca: both ends show a certificate and "
        "check the other's");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TransportSecurity& security, absl::string_view address, absl::Time now) {
  RETURN_IF_ERROR(CheckTransport(security, address));
  if (security.insecure) return grpc::InsecureServerCredentials();
  RETURN_IF_ERROR(CheckTlsFiles(security.tls, TlsRole::kServer, now));
  TlsServerCredentialsOptions options(Watch(security));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const TransportSecurity& security, absl::string_view address, absl::Time now) {
  RETURN_IF_ERROR(CheckTransport(security, address));
  if (security.insecure) return grpc::InsecureChannelCredentials();
  RETURN_IF_ERROR(CheckTlsFiles(security.tls, TlsRole::kClient, now));
  // gRPC compares the server's name by itself where no other verifier is set.
  TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(security));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace nestor
