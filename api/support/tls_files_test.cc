#include "api/support/tls_files.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "api/support/test_certificates.h"

namespace nestor {
namespace {

using ::testing::HasSubstr;

class CheckTlsFilesTest : public ::testing::Test {
 protected:
  // What is refused, and why: the message names `file` and says `what`.
  void ExpectRefused(const TlsFiles& files, TlsRole role, absl::Time now, const std::string& file,
                     const std::string& what) {
    const absl::Status status = CheckTlsFiles(files, role, now);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(file + " " + what));
  }
  void ExpectRefused(const TlsFiles& files, const std::string& file, const std::string& what) {
    ExpectRefused(files, TlsRole::kServer, now_, file, what);
  }
  std::string Write(const std::string& text) {
    std::string path = certificates_.directory() + "/written";
    std::ofstream(path) << text;
    return path;
  }

  TestCertificates certificates_;
  const absl::Time now_ = absl::Now();
  TlsFiles server_ = certificates_.Files("server");
};

TEST_F(CheckTlsFilesTest, GoodFilesPassForTheirRole) {
  EXPECT_EQ(CheckTlsFiles(server_, TlsRole::kServer, now_), absl::OkStatus());
  EXPECT_EQ(CheckTlsFiles(certificates_.Files("operator"), TlsRole::kClient, now_),
            absl::OkStatus());
}

TEST_F(CheckTlsFilesTest, MissingFileIsNamed) {
  for (std::string TlsFiles::*path : {&TlsFiles::certificate, &TlsFiles::key, &TlsFiles::ca}) {
    TlsFiles files = server_;
    files.*path = "/no/such/file";
    ExpectRefused(files, "/no/such/file", "cannot be read: No such file or directory");
    files.*path = certificates_.directory();
    ExpectRefused(files, certificates_.directory(), "holds no ");
  }
}

TEST_F(CheckTlsFilesTest, FileThatIsNotPemIsNamed) {
  const std::string text = Write("not a certificate\n");
  ExpectRefused({text, server_.key, server_.ca}, text, "holds no certificate");
  ExpectRefused({server_.certificate, text, server_.ca}, text, "holds no private key");
  ExpectRefused({server_.certificate, server_.key, text}, text, "holds no certificate");
}

TEST_F(CheckTlsFilesTest, EncryptedKeyIsRefusedWithoutAskingForItsPassword) {
  const std::string encrypted = certificates_.directory() + "/encrypted";
  const std::string command = "openssl pkey -aes256 -passout pass:secret -in " + server_.key +
                              " -out " + encrypted + " 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0);
  ExpectRefused({server_.certificate, encrypted, server_.ca}, encrypted, "is encrypted");
}

TEST_F(CheckTlsFilesTest, KeyOfAnotherCertificateIsRefused) {
  const std::string other = certificates_.Files("operator").key;
  ExpectRefused({server_.certificate, other, server_.ca}, other,
                "is not the key of " + server_.certificate);
}

TEST_F(CheckTlsFilesTest, TimeOutsideOfTheCertificatesValidityIsRefused) {
  ExpectRefused(server_, TlsRole::kServer, now_ + absl::Hours(24 * 31), server_.certificate,
                "has expired on 2");
  ExpectRefused(server_, TlsRole::kServer, now_ - absl::Hours(1), server_.certificate,
                "is valid only from 2");
}

TEST_F(CheckTlsFilesTest, CertificateOfTheOtherRoleIsRefused) {
  ExpectRefused(server_, TlsRole::kClient, now_, server_.certificate, "is not made for a client");
  const TlsFiles agent = certificates_.Files("agent-host-a");
  ExpectRefused(agent, TlsRole::kServer, now_, agent.certificate, "is not made for a server");
}

TEST(DevCerts, RunAgainKeepsWhatIsThereAndAddsWhatIsMissing) {
  const TestCertificates certificates;
  const auto version = [&](const char* name) {
    return std::filesystem::read_symlink(certificates.directory() + "/" + name);
  };
  const auto server = version("server");
  const auto host_a = version("agent-host-a");
  certificates.Make("--host host-c --renew agent-host-a --host host-a");
  EXPECT_EQ(version("server"), server);
  EXPECT_NE(version("agent-host-a"), host_a);
  EXPECT_FALSE(std::filesystem::exists(certificates.directory() / host_a));
  EXPECT_EQ(CheckTlsFiles(certificates.Files("agent-host-c"), TlsRole::kClient, absl::Now()),
            absl::OkStatus());
}

}  // namespace
}  // namespace nestor
