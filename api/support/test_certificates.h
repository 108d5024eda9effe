// Certificates for tests, made by scripts/dev-certs.sh.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "api/support/tls_credentials.h"

namespace nestor {

// A certificate authority of its own, in a directory that goes with it.
class TestCertificates {
 public:
  TestCertificates() {
    std::string pattern = "/tmp/nestor-certs-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) abort();
    directory_ = pattern;
    Make("--host host-a --host host-b --project demo");
  }
  ~TestCertificates() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;

  // Runs the script with these arguments: `--renew NAME --days -1` makes an expired one.
  void Make(const std::string& arguments) const {
    const std::string command =
        absl::StrCat(NESTOR_SOURCE_DIR, "/scripts/dev-certs.sh ", directory_, " ", arguments);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  const std::string& directory() const { return directory_; }

  // The files of "server", "agent-host-a", "operator" and so on.
  TlsFiles Files(const std::string& name) const {
    const std::string path = absl::StrCat(directory_, "/", name);
    return {path + "/tls.crt", path + "/tls.key", path + "/ca.crt"};
  }

  // As the flags of a program that looks at its files every second.
  TransportSecurity Security(const std::string& name) const {
    TransportSecurity security;
    security.tls = Files(name);
    security.reload_seconds = 1;
    return security;
  }

 private:
  std::string directory_;
};

}  // namespace nestor
