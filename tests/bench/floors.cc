#include "tests/bench/floors.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <rocksdb/db.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <utility>
#include <vector>

#include <etcd.grpc.pb.h>
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "api/support/grpc_address.h"
#include "nestor/v1/agent_service.grpc.pb.h"
#include "nestor/v1/pasid_binding_service.grpc.pb.h"

namespace nestor::bench {
namespace {

class EchoBindings final : public v1::PasidBindingService::CallbackService {
 public:
  grpc::ServerUnaryReactor* CreatePasidBinding(grpc::CallbackServerContext* context,
                                               const v1::CreatePasidBindingRequest* request,
                                               v1::PasidBinding* response) override {
    *response = request->pasid_binding();
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

class EchoStream final : public grpc::ServerBidiReactor<v1::SyncRequest, v1::SyncResponse> {
 public:
  EchoStream() { StartRead(&request_); }
  void OnReadDone(bool ok) override { ok ? StartWrite(&response_) : Finish(grpc::Status::OK); }
  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  v1::SyncRequest request_;
  v1::SyncResponse response_;
};

class EchoAgents final : public v1::AgentService::CallbackService {
 public:
  grpc::ServerBidiReactor<v1::SyncRequest, v1::SyncResponse>* Sync(
      grpc::CallbackServerContext*) override {
    return new EchoStream;
  }
};

constexpr char kEtcdPath[] = "/usr/bin/etcd";

}  // namespace

std::string MachineName(int machine) {
  return absl::StrFormat("projects/bench/virtualMachines/vm-%05d", machine);
}

v1::CreatePasidBindingRequest CreateRequest(int64_t number, int machines) {
  v1::CreatePasidBindingRequest request;
  v1::PasidBinding& binding = *request.mutable_pasid_binding();
  const int64_t pasid = number / machines + 1;
  binding.set_name(absl::StrFormat("%s/pasidBindings/b-%07d",
                                   MachineName(static_cast<int>(number % machines)), pasid));
  binding.mutable_spec()->set_device(kDevice);
  binding.mutable_spec()->set_pasid(static_cast<uint32_t>(pasid));
  v1::PageTable& table = *binding.mutable_spec()->mutable_page_table();
  table.set_format(v1::PageTable::FORMAT_VTD_S1);
  table.set_root(0x1000);
  table.set_address_width(48);
  return request;
}

int RunEchoServer(const std::string& address) {
  EchoBindings bindings;
  EchoAgents agents;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&bindings);
  builder.RegisterService(&agents);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  server->Wait();
  return 0;
}

absl::StatusOr<absl::Duration> MeasureFdatasync(const std::string& directory) {
  constexpr int kRounds = 200;
  const std::string path = directory + "/fdatasync";
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return absl::ErrnoToStatus(errno, path);
  const std::array<char, 4096> page{};
  std::vector<absl::Duration> samples;
  for (int i = 0; i < kRounds; ++i) {
    const absl::Time start = absl::Now();
    if (write(fd, page.data(), page.size()) != static_cast<ssize_t>(page.size()) ||
        fdatasync(fd) != 0) {
      close(fd);
      return absl::ErrnoToStatus(errno, path);
    }
    samples.push_back(absl::Now() - start);
  }
  close(fd);
  return Percentile(std::move(samples), 0.5);
}

absl::StatusOr<double> MeasureRocksDbBatches(const std::string& directory, int rows,
                                             absl::Duration duration) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  if (auto status = rocksdb::DB::Open(options, directory + "/rocksdb", &opened); !status.ok()) {
    return absl::InternalError(status.ToString());
  }
  const std::unique_ptr<rocksdb::DB> db(opened);
  rocksdb::WriteOptions synced;
  synced.sync = true;
  const std::string value(300, 'v');
  const absl::Time start = absl::Now();
  int64_t batches = 0;
  for (; absl::Now() - start < duration; ++batches) {
    rocksdb::WriteBatch batch;
    for (int row = 0; row < rows; ++row) {
      if (!batch.Put(absl::StrCat("key-", batches, "-", row), value).ok()) break;
    }
    if (auto status = db->Write(synced, &batch); !status.ok()) {
      return absl::InternalError(status.ToString());
    }
  }
  return static_cast<double>(batches) / absl::ToDoubleSeconds(absl::Now() - start);
}

std::unique_ptr<Etcd> Etcd::Start(const std::string& directory) {
  if (access(kEtcdPath, X_OK) != 0) return nullptr;
  auto etcd = std::make_unique<Etcd>();
  // etcd takes unix sockets by host and port, as a name in its working directory.
  etcd->address_ = "127.0.0.1:32379";
  const std::string url = "http://" + etcd->address_;
  etcd->process_ = std::make_unique<testing::Process>(
      kEtcdPath,
      std::vector<std::string>{"--data-dir", directory + "/etcd", "--listen-client-urls", url,
                               "--advertise-client-urls", url, "--listen-peer-urls",
                               "http://127.0.0.1:32380", "--log-level", "error"},
      directory + "/etcd.log");
  auto channel = grpc::CreateChannel(etcd->address_, grpc::InsecureChannelCredentials());
  const bool connected =
      channel->WaitForConnected(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
  return connected ? std::move(etcd) : nullptr;
}

LoopResult Etcd::MeasurePuts(int in_flight, absl::Duration duration) {
  auto stub = etcdserverpb::KV::NewStub(grpc::CreateCustomChannel(
      address_, grpc::InsecureChannelCredentials(), ClientChannelArguments()));
  std::atomic<int64_t> number = 0;
  // As many bytes as Nestor stores for one create: its row and its claim.
  const std::string value(300, 'v');
  struct Put {
    grpc::ClientContext context;
    etcdserverpb::PutRequest request;
    etcdserverpb::PutResponse response;
  };
  return RunClosedLoop(in_flight, duration, [&](std::function<void(bool)> done) {
    auto put = std::make_shared<Put>();
    put->request.set_key(absl::StrCat("bench/", number++));
    put->request.set_value(value);
    put->context.set_wait_for_ready(true);
    stub->async()->Put(
        &put->context, &put->request, &put->response,
        [put, done = std::move(done)](const grpc::Status& status) { done(status.ok()); });
  });
}

}  // namespace nestor::bench
