// The command-line options that several programs have, each said once.
#pragma once

#include <CLI/App.hpp>
#include <string>

#include "api/support/tls_credentials.h"

namespace nestor {

// Adds --tls-cert, --tls-key, --tls-ca and --insecure, which fill `security`.
void AddTransportOptions(CLI::App* app, TransportSecurity* security);

// Adds --tls-reload besides: for programs that outlive a certificate.
void AddReloadOption(CLI::App* app, TransportSecurity* security);

// How a server program is watched.
struct WatchOptions {
  std::string log_level = "info";
  std::string log_format = "text";
  std::string metrics_listen;  // HOST:PORT; empty: no such listener

  // Begins to log as they say.
  void StartLog() const;
};

// Adds --log-level, --log-format and --metrics-listen, which fill `options`.
void AddWatchOptions(CLI::App* app, WatchOptions* options);

}  // namespace nestor
