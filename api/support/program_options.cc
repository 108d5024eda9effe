#include "api/support/program_options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "api/support/log.h"

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

void WatchOptions::StartLog() const {
  log::Start(log_format == "json" ? log::Format::kJson : log::Format::kText, log_level);
}

void AddWatchOptions(CLI::App* app, WatchOptions* options) {
  app->add_option("--log-level", options->log_level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  app->add_option("--log-format", options->log_format, "text, or json: an object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app->add_option("--metrics-listen", options->metrics_listen,
                  "HOST:PORT for Prometheus (/metrics) and probes (/healthz, /readyz); plaintext");
}

}  // namespace nestor
