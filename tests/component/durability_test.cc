// kill -9 of the server at any moment loses no acknowledged intent.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/component/local_cluster.h"

namespace nestor::testing {
namespace {

constexpr int kWriters = 4;
constexpr char kDevice[] = "0000:01:00.0";

// What the writers were told is stored.
class Acknowledged {
 public:
  void Add(std::string name) {
    std::lock_guard lock(mutex_);
    names_.insert(std::move(name));
    changed_.notify_all();
  }
  bool WaitForCount(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience),
                             [&] { return names_.size() >= count; });
  }
  std::set<std::string> names() {
    std::lock_guard lock(mutex_);
    return names_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> names_;
};

void DeclareMachine(LocalCluster& cluster) {
  v1::CreateHostRequest host;
  host.mutable_host()->set_name("hosts/h1");
  v1::Host declared;
  ASSERT_TRUE(cluster.hosts().CreateHost(CallContext(), host, &declared).ok());
  v1::CreateVirtualMachineRequest machine;
  *machine.mutable_virtual_machine() = TestMachine("vm", "h1", {kDevice});
  v1::VirtualMachine created;
  ASSERT_TRUE(cluster.machines().CreateVirtualMachine(CallContext(), machine, &created).ok());
}

// Creates bindings until the server stops answering.
void WriteUntilRefused(LocalCluster& cluster, std::atomic<uint32_t>& next_pasid,
                       Acknowledged& acknowledged) {
  for (;;) {
    const uint32_t pasid = next_pasid++;
    v1::CreatePasidBindingRequest request;
    *request.mutable_pasid_binding() =
        TestBinding("vm", absl::StrCat("b", pasid), kDevice, pasid, 0x1000);
    v1::PasidBinding created;
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    if (!cluster.bindings().CreatePasidBinding(&context, request, &created).ok()) return;
    acknowledged.Add(created.name());
  }
}

std::set<std::string> ListBindings(LocalCluster& cluster) {
  std::set<std::string> names;
  v1::ListPasidBindingsRequest request;
  request.set_parent("projects/test/virtualMachines/vm");
  request.set_page_size(1000);
  do {
    v1::ListPasidBindingsResponse page;
    const grpc::Status status = cluster.bindings().ListPasidBindings(CallContext(), request, &page);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const auto& binding : page.pasid_bindings()) names.insert(binding.name());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return names;
}

TEST(Durability, KillAtAnyMomentLosesNoAcknowledgedIntent) {
  LocalCluster cluster;
  cluster.StartServer();
  DeclareMachine(cluster);
  Acknowledged acknowledged;
  std::atomic<uint32_t> next_pasid{1};
  for (size_t round = 1; round <= 8; ++round) {
    const size_t before = acknowledged.names().size();
    std::vector<std::thread> writers;
    for (int i = 0; i < kWriters; ++i) {
      writers.emplace_back([&] { WriteUntilRefused(cluster, next_pasid, acknowledged); });
    }
    // Each round dies at another depth of work.
    EXPECT_TRUE(acknowledged.WaitForCount(before + round * round * 3));
    cluster.KillServer();
    for (std::thread& writer : writers) writer.join();
    cluster.StartServer();
    const std::set<std::string> stored = ListBindings(cluster);
    for (const std::string& name : acknowledged.names()) {
      EXPECT_TRUE(stored.contains(name)) << name << " was acknowledged and is lost";
    }
  }
}

TEST(Durability, StopUnderLoadIsOrderlyAndKeepsWhatWasAcknowledged) {
  LocalCluster cluster;
  cluster.StartServer();
  DeclareMachine(cluster);
  Acknowledged acknowledged;
  std::atomic<uint32_t> next_pasid{1};
  std::vector<std::thread> clients;
  for (int i = 0; i < kWriters; ++i) {
    clients.emplace_back([&] { WriteUntilRefused(cluster, next_pasid, acknowledged); });
  }
  // One that never ends by itself.
  clients.emplace_back([&] {
    grpc::ClientContext context;
    v1::WatchRequest request;
    request.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
    auto stream = cluster.watch().Watch(&context, request);
    v1::WatchResponse event;
    while (stream->Read(&event)) {
    }
  });
  EXPECT_TRUE(acknowledged.WaitForCount(50));
  const auto code = cluster.StopServer();
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 0);
  for (std::thread& client : clients) client.join();
  cluster.StartServer();
  EXPECT_THAT(ListBindings(cluster), ::testing::IsSupersetOf(acknowledged.names()));
}

// Every file of a directory with its content.
std::map<std::string, std::string> ReadFiles(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    files[entry.path().filename()] = std::string(std::istreambuf_iterator<char>(in), {});
  }
  return files;
}

TEST(Durability, DamagedStoreIsRefusedAndNothingIsOverwritten) {
  LocalCluster cluster;
  cluster.StartServer();
  DeclareMachine(cluster);
  cluster.KillServer();
  const std::string store = cluster.directory() + "/store";
  // The one write-ahead log, in whose middle a bit flips.
  std::filesystem::path log;
  for (const auto& entry : std::filesystem::directory_iterator(store)) {
    if (entry.path().extension() == ".log") log = entry.path();
  }
  ASSERT_FALSE(log.empty());
  std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(60);
  const char flipped = static_cast<char>(file.get() ^ 1);
  file.seekp(60);
  file.put(flipped);
  file.close();
  const auto before = ReadFiles(store);

  Process server(
      "nestor-server",
      {"--data-dir", store, "--listen", "unix:" + cluster.directory() + "/x.sock", "--insecure"},
      cluster.directory() + "/refusal.txt");
  auto code = server.Wait(kPatience);
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 1);
  EXPECT_THAT(ReadFiles(cluster.directory())["refusal.txt"], ::testing::HasSubstr("damaged"));
  EXPECT_EQ(ReadFiles(store), before);
}

TEST(Durability, SigtermEndsCleanlyAndKeepsEverything) {
  LocalCluster cluster;
  cluster.StartServer();
  DeclareMachine(cluster);
  auto code = cluster.StopServer();
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 0);
  cluster.StartServer();
  v1::GetVirtualMachineRequest request;
  request.set_name("projects/test/virtualMachines/vm");
  v1::VirtualMachine machine;
  EXPECT_TRUE(cluster.machines().GetVirtualMachine(CallContext(), request, &machine).ok());
}

}  // namespace
}  // namespace nestor::testing
