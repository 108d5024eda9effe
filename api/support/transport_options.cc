#include "api/support/transport_options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace nestor {

void AddTransportOptions(CLI::App* app, TransportSecurity* security) {
  app->add_option("--tls-cert", security->tls.certificate,
                  "PEM file of the certificate that this program shows, as are the next two");
  app->add_option("--tls-key", security->tls.key, "Its private key");
  app->add_option("--tls-ca", security->tls.ca,
                  "The authorities that sign the certificates of the other end");
  app->add_flag("--insecure", security->insecure,
                "Speak plaintext instead of TLS; only on a loopback address or unix socket");
}

void AddReloadOption(CLI::App* app, TransportSecurity* security) {
  app->add_option("--tls-reload", security->reload_seconds,
                  "Seconds within which changed TLS files are taken up")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
}

}  // namespace nestor
