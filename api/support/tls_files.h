// The files of one TLS identity, checked before they are used.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace nestor {

// Paths of PEM files. `certificate` may hold the intermediate authorities too, the own
// certificate first; `key` must not be encrypted; `ca` holds the authorities that sign the
// certificates of those at the other end.
struct TlsFiles {
  std::string certificate;
  std::string key;
  std::string ca;
};

// What a certificate is to be used for.
enum class TlsRole { kServer, kClient };

// Whether a handshake with `files` can succeed at `now`: they can be read and parsed, the key is
// that of the certificate, and the certificate is valid at `now` and made for `role`.
// FAILED_PRECONDITION otherwise, with the file, what is wrong with it and what to do. Blocks on
// the disk.
absl::Status CheckTlsFiles(const TlsFiles& files, TlsRole role, absl::Time now);

}  // namespace nestor
