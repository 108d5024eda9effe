#include "api/support/monitoring.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <prometheus/counter.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace nestor {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The whole answer to GET `path`.
std::string Get(const std::string& address, const std::string& path) {
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(static_cast<uint16_t>(port));
  peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof(peer)), 0);
  const std::string request = absl::StrCat("GET ", path, " HTTP/1.0\r\n\r\n");
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t got; (got = read(fd, buffer, sizeof(buffer))) > 0;) {
    answer.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return answer;
}

class MonitoringTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server =
        MonitoringServer::Start("127.0.0.1:0", registry_, [this] { return ready_.load(); });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  prometheus::Registry registry_;
  std::atomic<bool> ready_ = true;
  std::unique_ptr<MonitoringServer> server_;
};

TEST_F(MonitoringTest, ShowsTheRegistryAndTheProcess) {
  prometheus::BuildCounter()
      .Name("apples_total")
      .Help("Apples.")
      .Register(registry_)
      .Add({})
      .Increment(3);
  AddBuildInfo(registry_, "test", "1.2.3");
  const std::string answer = Get(server_->address(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("\napples_total 3\n"));
  EXPECT_THAT(answer, HasSubstr("nestor_build_info{program=\"test\",version=\"1.2.3\"} 1"));
  EXPECT_THAT(answer, HasSubstr("\nprocess_resident_memory_bytes "));
  EXPECT_THAT(answer, HasSubstr("\nprocess_open_fds "));
}

TEST_F(MonitoringTest, ReadinessFollowsTheProgramAndHealthDoesNot) {
  EXPECT_THAT(Get(server_->address(), "/readyz"), StartsWith("HTTP/1.1 200"));
  ready_ = false;
  EXPECT_THAT(Get(server_->address(), "/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Get(server_->address(), "/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(MonitoringTest, UnknownPathsAreNotFound) {
  EXPECT_THAT(Get(server_->address(), "/etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(server_->address(), "/metrics/more"), StartsWith("HTTP/1.1 404"));
}

TEST_F(MonitoringTest, AddressThatIsTakenIsRefused) {
  auto second = MonitoringServer::Start(server_->address(), registry_, [] { return true; });
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MonitoringTest, AddressWithoutPortIsRefused) {
  auto server = MonitoringServer::Start("localhost", registry_, [] { return true; });
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nestor
