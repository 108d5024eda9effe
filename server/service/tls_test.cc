// Who is let in to which of the server's ports, over real TLS.

#include <gmock/gmock.h>
#include <grpcpp/security/credentials.h>

#include <fstream>
#include <iterator>

#include "absl/time/clock.h"
#include "api/support/errors.h"
#include "api/support/grpc_address.h"
#include "api/support/test_certificates.h"
#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::HasSubstr;

constexpr char kHealthCheck[] = "grpc.health.v1.Health/Check";
constexpr char kReflection[] = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
constexpr char kChannelz[] = "grpc.channelz.v1.Channelz/GetServers";
constexpr char kListHosts[] = "nestor.v1.HostService/ListHosts";
constexpr char kRenewLease[] = "nestor.v1.AgentService/RenewLease";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Without the checks at start, which refuse most of what must be tried here.
std::shared_ptr<grpc::ChannelCredentials> Unchecked(const TlsFiles& files) {
  grpc::SslCredentialsOptions options;
  options.pem_cert_chain = ReadFile(files.certificate);
  options.pem_private_key = ReadFile(files.key);
  options.pem_root_certs = ReadFile(files.ca);
  return grpc::SslCredentials(options);
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest()
      : admin_(GrpcServer::StartAdmin({AdminAddress(), certificates_.Security("server")}).value()),
        health_(GrpcServer::StartHealth(HealthAddress()).value()) {}

  std::string AdminAddress() const { return "unix:" + directory_.path() + "/admin"; }
  std::string HealthAddress() const { return "unix:" + directory_.path() + "/health"; }

  // As the program that was given the certificate `name`.
  std::shared_ptr<grpc::Channel> Dial(const std::string& address, const std::string& name) {
    auto credentials =
        MakeChannelCredentials(certificates_.Security(name), address, absl::Now()).value();
    return grpc::CreateCustomChannel(address, credentials, ClientChannelArguments());
  }

  absl::Status ListHosts(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    return CallRaw(grpc::CreateChannel(server_.ClientAddress(), credentials), kListHosts, "");
  }
  absl::Status ListHosts(const std::string& name) {
    return CallRaw(Dial(server_.ClientAddress(), name), kListHosts, "");
  }

  // How a stream of the agent `name`, which says that it is `host`, ends.
  absl::Status Sync(const std::string& name, const std::string& host) {
    auto stub = v1::AgentService::NewStub(Dial(server_.AgentAddress(), name));
    grpc::ClientContext context;
    LimitCall(&context);
    auto stream = stub->Sync(&context);
    v1::SyncRequest hello = TestHello();
    hello.mutable_hello()->set_host(host);
    stream->Write(hello);
    stream->WritesDone();
    v1::SyncResponse response;
    while (stream->Read(&response)) {
    }
    return FromGrpcStatus(stream->Finish());
  }
  absl::Status RenewLease(const std::string& name, const std::string& host) {
    v1::RenewLeaseRequest request;
    request.set_host(host);
    request.set_session_id("none");
    return CallRaw(Dial(server_.AgentAddress(), name), kRenewLease, request.SerializeAsString());
  }

  TestCertificates certificates_;
  TemporaryDirectory directory_;
  TestServer server_{{.security = certificates_.Security("server")}};
  std::unique_ptr<GrpcServer> admin_;
  std::unique_ptr<GrpcServer> health_;
};

TEST_F(TlsTest, KnownClientsAreAnswered) {
  for (const char* name : {"project-demo-writer", "project-demo-reader", "operator", "auditor"}) {
    EXPECT_EQ(ListHosts(name), absl::OkStatus()) << name;
  }
}

TEST_F(TlsTest, PlaintextIsRefused) {
  EXPECT_EQ(ListHosts(grpc::InsecureChannelCredentials()).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, ClientWithoutACertificateIsRefused) {
  const TlsFiles only_authority = {"", "", certificates_.Files("operator").ca};
  EXPECT_EQ(ListHosts(Unchecked(only_authority)).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, CertificateOfAnotherAuthorityIsRefusedByBothEnds) {
  const TestCertificates others;
  TlsFiles files = others.Files("operator");
  files.ca = certificates_.Files("operator").ca;
  EXPECT_EQ(ListHosts(Unchecked(files)).code(), absl::StatusCode::kUnavailable);
  files = certificates_.Files("operator");
  files.ca = others.Files("operator").ca;
  const absl::Status refused = ListHosts(Unchecked(files));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("certificate verify failed"));
}

TEST_F(TlsTest, ExpiredCertificateIsRefusedByBothEnds) {
  certificates_.Make("--renew operator --days -1");
  const TlsFiles files = certificates_.Files("operator");
  const absl::Status own =
      MakeChannelCredentials(certificates_.Security("operator"), "unix:x", absl::Now()).status();
  EXPECT_THAT(std::string(own.message()), HasSubstr(files.certificate + " has expired on "));
  EXPECT_EQ(ListHosts(Unchecked(files)).code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, ServerOfAnotherNameIsRefused) {
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("nestor.example");
  auto credentials = MakeChannelCredentials(certificates_.Security("operator"),
                                            server_.ClientAddress(), absl::Now())
                         .value();
  const absl::Status refused = CallRaw(
      grpc::CreateCustomChannel(server_.ClientAddress(), credentials, arguments), kListHosts, "");
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("Hostname Verification Check failed"));
}

TEST_F(TlsTest, ReplacedFilesAreTakenUpWhileConnectionsStay) {
  const auto before = Dial(server_.ClientAddress(), "operator");
  ASSERT_EQ(CallRaw(before, kListHosts, ""), absl::OkStatus());
  // Another authority: neither end of a new connection passes with what was there before.
  certificates_.Make("--renew ca --days 2");
  auto hosts = v1::HostService::NewStub(Dial(server_.ClientAddress(), "operator"));
  grpc::ClientContext context;
  LimitCall(&context);
  context.set_wait_for_ready(true);  // tries the handshake again until then
  v1::ListHostsResponse response;
  const grpc::Status after = hosts->ListHosts(&context, v1::ListHostsRequest(), &response);
  EXPECT_TRUE(after.ok()) << after.error_message();
  EXPECT_EQ(CallRaw(before, kListHosts, ""), absl::OkStatus());
}

TEST_F(TlsTest, AgentSpeaksForTheHostOfItsCertificateOnly) {
  // Beyond the certificate, a Hello is as good or bad as on plaintext.
  EXPECT_NE(Sync("agent-host-a", "hosts/host-a").code(), absl::StatusCode::kPermissionDenied);
  const int64_t head = server_.head();
  const absl::Status sync = Sync("agent-host-a", "hosts/host-b");
  EXPECT_EQ(sync.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrorReason(sync), "IDENTITY_MISMATCH");
  EXPECT_EQ(server_.head(), head);
  EXPECT_EQ(ErrorReason(RenewLease("agent-host-a", "hosts/host-b")), "IDENTITY_MISMATCH");
  EXPECT_EQ(ErrorReason(RenewLease("agent-host-b", "hosts/host-b")), "NOT_SESSION_OWNER");
}

TEST_F(TlsTest, ClientsAreNoAgents) {
  for (const char* name : {"project-demo-writer", "operator", "auditor"}) {
    EXPECT_EQ(ErrorReason(Sync(name, "hosts/host-a")), "ROLE_DENIED") << name;
    EXPECT_EQ(ErrorReason(RenewLease(name, "hosts/host-a")), "ROLE_DENIED") << name;
  }
}

TEST_F(TlsTest, AgentsAreNoClients) {
  const auto channel = Dial(server_.ClientAddress(), "agent-host-a");
  // The identity is looked at first: none of these requests is valid.
  for (const char* method :
       {"HostService/ListHosts", "HostService/CreateHost",
        "VirtualMachineService/GetVirtualMachine", "PasidBindingService/CreatePasidBinding",
        "PasidBindingService/WaitPasidBinding"}) {
    const absl::Status status = CallRaw(channel, absl::StrCat("nestor.v1.", method), "");
    EXPECT_EQ(ErrorReason(status), "ROLE_DENIED") << method;
  }
  grpc::ClientContext context;
  LimitCall(&context);
  auto watch = v1::WatchService::NewStub(channel)->Watch(&context, v1::WatchRequest());
  v1::WatchResponse event;
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_EQ(ErrorReason(FromGrpcStatus(watch->Finish())), "ROLE_DENIED");
}

TEST_F(TlsTest, CertificateWithoutAnIdentityOpensNothing) {
  // A host whose name is none, and no name at all.
  certificates_.Make("--host Not_A_Host");
  const std::string at = certificates_.directory();
  const std::string command = absl::StrCat(
      "cd ", at, " && mkdir nobody && cp ca/tls.crt nobody/ca.crt && (openssl req -new -newkey ec ",
      "-pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout nobody/tls.key -out csr && openssl ",
      "x509 -req -in csr -CA ca/tls.crt -CAkey ca/tls.key -CAcreateserial -days 1 ",
      "-out nobody/tls.crt) >log 2>&1");
  ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(at + "/log");
  for (const char* name : {"agent-Not_A_Host", "nobody"}) {
    EXPECT_EQ(ErrorReason(ListHosts(name)), "IDENTITY_UNKNOWN") << name;
    EXPECT_EQ(ErrorReason(RenewLease(name, "hosts/host-a")), "IDENTITY_UNKNOWN") << name;
    EXPECT_EQ(CallRaw(Dial(AdminAddress(), name), kChannelz, "").code(),
              absl::StatusCode::kPermissionDenied);
  }
}

TEST_F(TlsTest, ServiceOnTheWrongPortIsUnimplemented) {
  const auto plaintext_health =
      grpc::CreateChannel(HealthAddress(), grpc::InsecureChannelCredentials());
  const struct {
    std::shared_ptr<grpc::Channel> channel;
    std::vector<std::string> foreign;
  } ports[] = {{Dial(server_.ClientAddress(), "operator"), {kRenewLease, kReflection, kChannelz}},
               {Dial(server_.AgentAddress(), "agent-host-a"), {kListHosts, kReflection, kChannelz}},
               {Dial(AdminAddress(), "operator"), {kListHosts, kRenewLease}},
               {plaintext_health, {kListHosts, kRenewLease, kReflection, kChannelz}}};
  for (const auto& port : ports) {
    EXPECT_EQ(CallRaw(port.channel, kHealthCheck, ""), absl::OkStatus());
    for (const std::string& method : port.foreign) {
      EXPECT_EQ(CallRaw(port.channel, method, "").code(), absl::StatusCode::kUnimplemented)
          << method;
    }
  }
}

TEST_F(TlsTest, AdminServerIsForOperators) {
  const auto as_operator = Dial(AdminAddress(), "operator");
  EXPECT_EQ(CallRaw(as_operator, kChannelz, ""), absl::OkStatus());
  EXPECT_NE(CallRaw(as_operator, kReflection, "").code(), absl::StatusCode::kUnimplemented);
  for (const char* name : {"auditor", "project-demo-writer", "agent-host-a"}) {
    EXPECT_EQ(CallRaw(Dial(AdminAddress(), name), kChannelz, "").code(),
              absl::StatusCode::kPermissionDenied)
        << name;
  }
}

}  // namespace
}  // namespace nestor::server
