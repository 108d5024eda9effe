#include "api/support/grpc_address.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"

namespace nestor {

bool IsLocalAddress(absl::string_view address) {
  if (absl::StartsWith(address, "unix:") || absl::StartsWith(address, "unix-abstract:")) {
    return true;
  }
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return false;
  const absl::string_view host = address.substr(0, colon);
  if (host == "localhost" || host == "[::1]") return true;
  // Four decimal numbers, so that 127.0.0.1.example is no loopback address.
  return absl::StartsWith(host, "127.") &&
         host.find_first_not_of("0123456789.") == absl::string_view::npos;
}

absl::Status CheckPlaintext(absl::string_view address, bool insecure) {
  if (!insecure) {
    return absl::InvalidArgumentError(
        "no certificate: give --tls-cert, --tls-key and --tls-ca, or --insecure to speak plaintext "
        "on a loopback address or unix socket");
  }
  if (!IsLocalAddress(address)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Printable(address),
                     "\" is neither a loopback address nor a unix socket: plaintext (--insecure) "
                     "stays on this machine; use e.g. 127.0.0.1:PORT or unix:PATH, or --tls-cert, "
                     "--tls-key and --tls-ca"));
  }
  return absl::OkStatus();
}

grpc::ChannelArguments ClientChannelArguments() {
  constexpr int kMaxMessage = 4 << 20;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetMaxSendMessageSize(kMaxMessage);
  return arguments;
}

}  // namespace nestor
