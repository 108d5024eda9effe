// The programs over TLS on loopback: certificates decide who is let in.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "api/support/test_certificates.h"
#include "tests/component/local_cluster.h"
#include "tests/testing/process.h"

namespace nestor::testing {
namespace {

using ::testing::HasSubstr;

// A port that nothing listened on a moment ago.
std::string UnusedLoopbackAddress() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
}

class TlsProgramsTest : public ::testing::Test {
 protected:
  std::vector<std::string> TlsFlags(const std::string& name) const {
    const TlsFiles files = certificates_.Files(name);
    return {"--tls-cert", files.certificate, "--tls-key", files.key, "--tls-ca", files.ca};
  }

  std::unique_ptr<Process> Start(const std::string& program, std::vector<std::string> arguments,
                                 const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<Process>(program, arguments, LogPath());
  }
  void StartServer() {
    server_ = Start("nestor-server",
                    {"--data-dir", directory_.path() + "/store", "--listen", api_, "--agent-listen",
                     agents_, "--tls-reload", "1"},
                    TlsFlags("server"));
    EXPECT_TRUE(AwaitLine(*server_, "clients at"));
  }
  std::unique_ptr<Process> StartAgent(const std::string& host, const std::string& name) {
    return Start("nestor-agent",
                 {"--host", host, "--server", agents_, "--run-dir",
                  absl::StrCat(directory_.path(), "/", name), "--kernel", "sim"},
                 TlsFlags(name));
  }

  // Whether a line of its log with `text` comes.
  static bool AwaitLine(Process& process, const std::string& text) {
    while (true) {
      const absl::StatusOr<std::string> line = process.ReadLine(kPatience);
      if (!line.ok()) return false;
      if (absl::StrContains(*line, text)) return true;
    }
  }
  // Runs a program to its end: its exit code; its stdout in `output`.
  int Run(const std::string& program, const std::vector<std::string>& arguments,
          const std::vector<std::string>& more, std::string* output) {
    auto process = Start(program, arguments, more);
    *output = process->ReadAll();
    return process->Wait(kPatience).value_or(-1);
  }
  int GetHosts(const std::string& name, std::string* output) {
    return Run("nestorctl", {"--server", api_, "get", "hosts"}, TlsFlags(name), output);
  }

  std::string LogPath() const { return directory_.path() + "/log"; }
  std::string Log() const {
    std::ifstream file(LogPath());
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TestCertificates certificates_;
  TemporaryDirectory directory_;
  const std::string api_ = UnusedLoopbackAddress();
  const std::string agents_ = UnusedLoopbackAddress();
  std::unique_ptr<Process> server_;
};

TEST_F(TlsProgramsTest, AgentAndNestorctlSpeakToTheServer) {
  StartServer();
  const auto agent = StartAgent("host-a", "agent-host-a");
  ASSERT_TRUE(AwaitLine(*agent, "session "));
  std::string output;
  EXPECT_EQ(GetHosts("operator", &output), 0) << Log();
  EXPECT_THAT(output, HasSubstr("host-a"));
  EXPECT_THAT(output, HasSubstr("CONNECTED"));
}

TEST_F(TlsProgramsTest, AgentWithTheCertificateOfAnotherHostIsRefused) {
  StartServer();
  const auto agent = StartAgent("host-b", "agent-host-a");
  EXPECT_TRUE(AwaitLine(*agent, "agent/host-a may not speak for hosts/host-b"));
  EXPECT_TRUE(AwaitLine(*server_, "refused an agent: PERMISSION_DENIED"));
  std::string output;
  EXPECT_EQ(GetHosts("operator", &output), 0) << Log();
  EXPECT_THAT(output, ::testing::Not(HasSubstr("host-b")));
}

TEST_F(TlsProgramsTest, NewCertificatesAreTakenUpWithoutARestart) {
  StartServer();
  std::string output;
  ASSERT_EQ(GetHosts("operator", &output), 0) << Log();
  certificates_.Make("--renew ca");
  const absl::Time deadline = absl::Now() + kPatience;
  int code = -1;
  do {
    code = GetHosts("operator", &output);
  } while (code != 0 && absl::Now() < deadline);
  EXPECT_EQ(code, 0) << Log();
}

TEST_F(TlsProgramsTest, ExpiredCertificateIsNamedAtStart) {
  certificates_.Make("--renew server --renew agent-host-a --renew operator --days -1");
  std::string output;
  EXPECT_EQ(GetHosts("operator", &output), 2);
  EXPECT_THAT(Log(), HasSubstr("operator/tls.crt has expired on "));
  EXPECT_EQ(Run("nestor-server", {"--data-dir", directory_.path() + "/store"}, TlsFlags("server"),
                &output),
            1);
  EXPECT_THAT(Log(), HasSubstr("server/tls.crt has expired on "));
  EXPECT_EQ(
      Run("nestor-agent", {"--host", "host-a", "--run-dir", directory_.path(), "--kernel", "sim"},
          TlsFlags("agent-host-a"), &output),
      1);
  EXPECT_THAT(Log(), HasSubstr("agent-host-a/tls.crt has expired on "));
}

TEST_F(TlsProgramsTest, PlaintextBeyondThisMachineIsWrongUsage) {
  std::string output;
  for (const char* flag : {"--listen", "--agent-listen", "--admin-listen"}) {
    EXPECT_EQ(Run("nestor-server", {"--data-dir", directory_.path() + "/store", "--insecure"},
                  {flag, "0.0.0.0:1"}, &output),
              2)
        << flag;
  }
  EXPECT_THAT(Log(), HasSubstr("stays on this machine"));
}

}  // namespace
}  // namespace nestor::testing
