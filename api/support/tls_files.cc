#include "api/support/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"

namespace nestor {
namespace {

template <auto kFree>
struct Freer {
  template <typename Object>
  void operator()(Object* object) const {
    kFree(object);
  }
};
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;

absl::Status Unusable(absl::string_view path, absl::string_view what, absl::string_view fix) {
  return absl::FailedPreconditionError(absl::StrCat(path, " ", what, "; ", fix));
}

absl::StatusOr<Bio> Open(const std::string& path, absl::string_view flag) {
  Bio bio(BIO_new_file(path.c_str(), "r"));
  const int error = errno;
  ERR_clear_error();
  if (bio == nullptr) {
    return Unusable(path, absl::StrCat("cannot be read: ", strerror(error)),
                    absl::StrCat("correct ", flag, ", or let this program's user read it"));
  }
  return bio;
}

absl::StatusOr<Certificate> ReadCertificate(const std::string& path, absl::string_view flag) {
  ASSIGN_OR_RETURN(const Bio bio, Open(path, flag));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (certificate == nullptr) {
    return Unusable(path, "holds no certificate in PEM form",
                    absl::StrCat("give ", flag, " a file with \"-----BEGIN CERTIFICATE-----\""));
  }
  return certificate;
}

// In place of asking for it on the terminal.
int NoPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* was_asked) {
  *static_cast<bool*>(was_asked) = true;
  return -1;
}

absl::StatusOr<PrivateKey> ReadKey(const std::string& path) {
  ASSIGN_OR_RETURN(const Bio bio, Open(path, "--tls-key"));
  bool is_encrypted = false;
  PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, &is_encrypted));
  ERR_clear_error();
  if (is_encrypted) {
    return Unusable(path, "is encrypted, and there is nobody to ask for its password",
                    "decrypt it with `openssl pkey`, and let only this program's user read it");
  }
  if (key == nullptr) {
    return Unusable(path, "holds no private key in PEM form",
                    "give --tls-key a file with \"-----BEGIN PRIVATE KEY-----\"");
  }
  return key;
}

absl::Time ToTime(const ASN1_TIME* time) {
  tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  return absl::FromTM(parts, absl::UTCTimeZone());
}

absl::Status CheckCertificate(const std::string& path, X509* certificate, TlsRole role,
                              absl::Time now) {
  const absl::Time begin = ToTime(X509_get0_notBefore(certificate));
  const absl::Time end = ToTime(X509_get0_notAfter(certificate));
  if (now >= end) {
    return Unusable(path,
                    absl::StrCat("has expired on ", absl::FormatTime(end, absl::UTCTimeZone())),
                    "renew the certificate");
  }
  if (now < begin) {
    return Unusable(
        path, absl::StrCat("is valid only from ", absl::FormatTime(begin, absl::UTCTimeZone())),
        "correct this machine's clock");
  }
  const bool is_server = role == TlsRole::kServer;
  const int purpose = is_server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
  if (X509_check_purpose(certificate, purpose, /*ca=*/0) != 1) {
    return Unusable(path, absl::StrCat("is not made for a ", is_server ? "server" : "client"),
                    absl::StrCat("have it signed with extendedKeyUsage ",
                                 is_server ? "serverAuth" : "clientAuth"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files, TlsRole role, absl::Time now) {
  ASSIGN_OR_RETURN(const Certificate certificate, ReadCertificate(files.certificate, "--tls-cert"));
  ASSIGN_OR_RETURN(const PrivateKey key, ReadKey(files.key));
  const bool match = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (!match) {
    return Unusable(files.key, absl::StrCat("is not the key of ", files.certificate),
                    "give --tls-cert and --tls-key two files that were made together");
  }
  RETURN_IF_ERROR(CheckCertificate(files.certificate, certificate.get(), role, now));
  return ReadCertificate(files.ca, "--tls-ca").status();
}

}  // namespace nestor
