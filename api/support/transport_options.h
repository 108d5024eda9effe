// The command-line options of TransportSecurity, the same for every program.
#pragma once

#include <CLI/App.hpp>

#include "api/support/tls_credentials.h"

namespace nestor {

// Adds --tls-cert, --tls-key, --tls-ca and --insecure, which fill `security`.
void AddTransportOptions(CLI::App* app, TransportSecurity* security);

// Adds --tls-reload besides: for programs that outlive a certificate.
void AddReloadOption(CLI::App* app, TransportSecurity* security);

}  // namespace nestor
