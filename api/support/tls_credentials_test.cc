#include "api/support/tls_credentials.h"

#include <gmock/gmock.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "absl/time/clock.h"
#include "api/support/program_options.h"
#include "api/support/test_certificates.h"

namespace nestor {
namespace {

using ::testing::HasSubstr;

TransportSecurity Flags(const std::string& command_line) {
  CLI::App app;
  TransportSecurity security;
  AddTransportOptions(&app, &security);
  AddReloadOption(&app, &security);
  app.parse(command_line);
  return security;
}

TEST(CheckTransport, TlsIsFineOnAnyAddress) {
  const TransportSecurity security = Flags("--tls-cert c --tls-key k --tls-ca a");
  for (const char* address : {"0.0.0.0:1", "nestor.example:1", "unix:/run/x"}) {
    EXPECT_EQ(CheckTransport(security, address), absl::OkStatus()) << address;
  }
}

TEST(CheckTransport, PlaintextNeedsInsecureAndALocalAddress) {
  EXPECT_EQ(CheckTransport(Flags("--insecure"), "127.0.0.1:1"), absl::OkStatus());
  const absl::Status remote = CheckTransport(Flags("--insecure"), "10.0.0.1:1");
  EXPECT_EQ(remote.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(remote.message()), HasSubstr("--tls-cert"));
  const absl::Status neither = CheckTransport(Flags(""), "127.0.0.1:1");
  EXPECT_EQ(neither.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(neither.message()), HasSubstr("--tls-cert"));
  EXPECT_THAT(std::string(neither.message()), HasSubstr("--insecure"));
}

TEST(CheckTransport, HalfOfTlsIsRefused) {
  for (const char* flags : {"--tls-cert c", "--tls-cert c --tls-key k", "--tls-key k --tls-ca a",
                            "--tls-cert c --tls-ca a", "--tls-ca a"}) {
    const absl::Status status = CheckTransport(Flags(flags), "127.0.0.1:1");
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << flags;
    EXPECT_THAT(std::string(status.message()), HasSubstr("all of")) << flags;
  }
}

TEST(CheckTransport, InsecureBesideTlsIsRefused) {
  const TransportSecurity both = Flags("--insecure --tls-cert c --tls-key k --tls-ca a");
  const absl::Status status = CheckTransport(both, "127.0.0.1:1");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("contradicts"));
}

TEST(TransportOptions, ReloadIsAtLeastASecond) {
  EXPECT_EQ(Flags("--tls-reload 1").reload_seconds, 1);
  EXPECT_EQ(Flags("").reload_seconds, 10);
  EXPECT_THROW(Flags("--tls-reload 0"), CLI::ValidationError);
}

TEST(MakeCredentials, FilesAreCheckedForTheirRole) {
  const TestCertificates certificates;
  const absl::Time now = absl::Now();
  const TransportSecurity server = certificates.Security("server");
  const TransportSecurity client = certificates.Security("operator");
  EXPECT_EQ(MakeServerCredentials(server, "0.0.0.0:1", now).status(), absl::OkStatus());
  EXPECT_EQ(MakeChannelCredentials(client, "example:1", now).status(), absl::OkStatus());
  EXPECT_EQ(MakeServerCredentials(client, "0.0.0.0:1", now).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeChannelCredentials(server, "example:1", now).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace nestor
