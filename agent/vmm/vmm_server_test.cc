#include "agent/vmm/vmm_server.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <future>

#include "agent/vmm/fake_shim.h"
#include "agent/vmm/nestor_control.h"
#include "agent/vmm/vfio_user_protocol.h"
#include "agent/vmm/vmm_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest/vfio_user_client.h"

namespace nestor::agent {
namespace {

using guest::VfioUserClient;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kVm[] = "projects/p/virtualMachines/v";
constexpr char kOtherVm[] = "projects/p/virtualMachines/other";
constexpr char kDevice[] = "0000:01:00.0";
constexpr char kOtherDevice[] = "0000:02:00.0";

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

FileDescriptor Memory(uint64_t size) {
  FileDescriptor memory(memfd_create("ram", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(memory.get(), static_cast<off_t>(size)), 0);
  return memory;
}

class VmmServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "vmm_server.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    auto server = VmmServer::Start(directory_, {.workers = 2});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::shared_ptr<FakeShim> Add(const char* vm, const char* device) {
    auto shim = std::make_shared<FakeShim>();
    const absl::Status added = server_->AddDevice(vm, device, shim);
    EXPECT_TRUE(added.ok()) << added;
    return shim;
  }

  std::string Path(const char* vm, const char* device) {
    return *VmmSocketPath(directory_, vm, device);
  }

  std::unique_ptr<VfioUserClient> Connect(const char* vm, const char* device) {
    auto client = VfioUserClient::Connect(Path(vm, device));
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }

  // A connection that does not speak vfio-user by itself.
  FileDescriptor ConnectRaw(const char* vm, const char* device) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string path = Path(vm, device);
    std::memcpy(address.sun_path, path.data(), path.size());
    FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    return socket;
  }

  std::string directory_;
  std::unique_ptr<VmmServer> server_;
};

FileDescriptor ConnectControl(const std::string& directory) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = directory + "/p.v/control.sock";
  std::memcpy(address.sun_path, path.data(), path.size());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return FileDescriptor();
  }
  return socket;
}

// Whether the server ends the connection.
bool IsClosedByServer(int socket) {
  char byte;
  const ssize_t received = recv(socket, &byte, 1, 0);
  return received == 0 || (received < 0 && errno == ECONNRESET);
}

TEST_F(VmmServerTest, MonitorsStartReachesTheShimInOrder) {
  const auto shim = Add(kVm, kDevice);
  auto client = Connect(kVm, kDevice);
  const FileDescriptor memory = Memory(1 << 20);
  EXPECT_TRUE(client->MapMemory(memory.get(), 0, 0, 1 << 20).ok());
  EXPECT_TRUE(client->MapWithoutFd(0xfffc0000, 0x40000, vfio_user::kDmaReadable).ok());
  EXPECT_EQ(client->GetDeviceInfo()->num_regions, 9u);
  EXPECT_EQ(client->GetRegionInfo(0)->size, 64u << 10);
  EXPECT_TRUE(client->PostRegionWrite(0, 8, "12345678").ok());
  EXPECT_EQ(client->ReadRegion(0, 8, 8).value(), "12345678");
  EXPECT_TRUE(client->Reset().ok());
  EXPECT_TRUE(client->UnmapMemory(0, 1 << 20).ok());
  EXPECT_THAT(shim->calls(), ElementsAre("connect", "map 0x0+0x100000", "write 0 0x8+8",
                                         "read 0 0x8+8", "reset", "unmap 0x0+0x100000"));
}

TEST_F(VmmServerTest, ClientThatClosesDisconnectsTheMonitor) {
  const auto shim = Add(kVm, kDevice);
  Connect(kVm, kDevice).reset();
  shim->WaitFor("disconnect");
}

TEST_F(VmmServerTest, ControlSocketAnswersWhileTheMachineHasADevice) {
  Add(kVm, kDevice);
  Add(kVm, kOtherDevice);
  const FileDescriptor client = ConnectControl(directory_);
  ASSERT_TRUE(client.valid());
  nestor_control_vm_info_request request{};
  request.header.version = NESTOR_CONTROL_VERSION;
  request.header.type = NESTOR_CONTROL_VM_INFO;
  request.header.size = sizeof(request);
  ASSERT_EQ(send(client.get(), &request, sizeof(request), 0), ssize_t{sizeof(request)});
  nestor_control_vm_info info{};
  ASSERT_GT(recv(client.get(), &info, sizeof(info), 0), 0);
  EXPECT_EQ(info.device_count, 2u);

  server_->RemoveDevice(kVm, kDevice);
  EXPECT_TRUE(ConnectControl(directory_).valid());
  server_->RemoveDevice(kVm, kOtherDevice);
  EXPECT_FALSE(ConnectControl(directory_).valid());
  EXPECT_TRUE(IsClosedByServer(client.get()));
}

TEST_F(VmmServerTest, OneMoreControlClientThanMayBeIsRefused) {
  Add(kVm, kDevice);
  std::vector<FileDescriptor> clients;
  for (size_t i = 0; i < ControlServer::kMaxClients; ++i) {
    clients.push_back(ConnectControl(directory_));
  }
  EXPECT_TRUE(IsClosedByServer(ConnectControl(directory_).get()));
}

TEST_F(VmmServerTest, NextClientIsServedWhenTheFirstIsGone) {
  const auto shim = Add(kVm, kDevice);
  auto first = Connect(kVm, kDevice);
  auto connecting = std::async(std::launch::async, [&] { return Connect(kVm, kDevice); });
  EXPECT_TRUE(first->Reset().ok());
  first.reset();
  const auto second = connecting.get();
  ASSERT_NE(second, nullptr);
  EXPECT_THAT(shim->calls(), ElementsAre("connect", "reset", "disconnect", "connect"));
}

TEST_F(VmmServerTest, MalformedHeaderEndsTheConnectionOnly) {
  const auto shim = Add(kVm, kDevice);
  const FileDescriptor raw = ConnectRaw(kVm, kDevice);
  const std::string garbage(64, '\xff');
  ASSERT_EQ(send(raw.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 64);
  EXPECT_TRUE(IsClosedByServer(raw.get()));
  EXPECT_NE(Connect(kVm, kDevice), nullptr);
}

TEST_F(VmmServerTest, CommandBeforeVersionEndsTheConnection) {
  const auto shim = Add(kVm, kDevice);
  const FileDescriptor raw = ConnectRaw(kVm, kDevice);
  const std::string reset = vfio_user::EncodeCommand(vfio_user::Command::kDeviceReset, 1, "");
  ASSERT_GT(send(raw.get(), reset.data(), reset.size(), MSG_NOSIGNAL), 0);
  EXPECT_TRUE(IsClosedByServer(raw.get()));
  EXPECT_THAT(shim->calls(), IsEmpty());
}

TEST_F(VmmServerTest, BlockedMachineHoldsUpNoOther) {
  const auto blocked = Add(kVm, kDevice);
  const auto also_blocked = Add(kVm, kOtherDevice);
  const auto other = Add(kOtherVm, kDevice);
  auto first = Connect(kVm, kDevice);
  auto second = Connect(kVm, kOtherDevice);
  blocked->Block();
  also_blocked->Block();
  auto reset = std::async(std::launch::async, [&] { return first->Reset(); });
  blocked->WaitFor("reset");
  auto also_reset = std::async(std::launch::async, [&] { return second->Reset(); });

  auto client = Connect(kOtherVm, kDevice);
  EXPECT_TRUE(client->Reset().ok());
  EXPECT_THAT(also_blocked->calls(), ElementsAre("connect")) << "one worker per machine";

  blocked->Unblock();
  also_blocked->Unblock();
  EXPECT_TRUE(reset.get().ok());
  EXPECT_TRUE(also_reset.get().ok());
}

TEST_F(VmmServerTest, RepliesThatNobodyReadsHoldBackRequestsOnly) {
  const auto shim = Add(kVm, kDevice);
  const auto other = Add(kVm, kOtherDevice);
  auto client = Connect(kVm, kOtherDevice);
  const FileDescriptor raw = ConnectRaw(kVm, kDevice);
  std::string requests =
      vfio_user::EncodeCommand(vfio_user::Command::kVersion, 0, vfio_user::EncodeVersion({}));
  constexpr int kReads = 200;
  for (uint16_t i = 1; i <= kReads; ++i) {
    requests +=
        vfio_user::EncodeCommand(vfio_user::Command::kRegionRead, i,
                                 vfio_user::EncodePayload(vfio_user::RegionAccess{0, 0, 32 << 10}));
  }
  ASSERT_EQ(send(raw.get(), requests.data(), requests.size(), 0),
            static_cast<ssize_t>(requests.size()));
  EXPECT_TRUE(client->Reset().ok()) << "the same machine's other device is served";

  std::string header(sizeof(vfio_user::Header), '\0');
  uint16_t last_id = 0;
  while (last_id != kReads) {
    ASSERT_EQ(recv(raw.get(), header.data(), header.size(), MSG_WAITALL),
              static_cast<ssize_t>(header.size()));
    const auto decoded = vfio_user::DecodeHeader(header);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    last_id = decoded->message_id;
    std::string payload(decoded->size - header.size(), '\0');
    ASSERT_EQ(recv(raw.get(), payload.data(), payload.size(), MSG_WAITALL),
              static_cast<ssize_t>(payload.size()));
  }
}

TEST_F(VmmServerTest, NoDescriptorOutlivesItsConnection) {
  const auto shim = Add(kVm, kDevice);
  const FileDescriptor memory = Memory(1 << 20);
  const FileDescriptor interrupt(eventfd(0, EFD_CLOEXEC));
  const size_t before = OpenDescriptors();
  {
    auto client = Connect(kVm, kDevice);
    EXPECT_TRUE(client->MapMemory(memory.get(), 0, 0, 1 << 20).ok());
    EXPECT_FALSE(client->MapMemory(memory.get(), 0, 0, 1 << 20).ok());
    const std::vector<int> too_few(3, interrupt.get());
    const std::vector<int> vectors(16, interrupt.get());
    vfio_user::SetIrqs request{.flags = vfio_user::kIrqDataEventfd | vfio_user::kIrqActionTrigger,
                               .index = 2,
                               .count = 16};
    EXPECT_FALSE(client->SetIrqs(request, too_few).ok());
    EXPECT_TRUE(client->SetIrqs(request, vectors).ok());
    EXPECT_GT(OpenDescriptors(), before + 16);
  }
  {
    auto client = Connect(kVm, kDevice);
    const std::vector<int> too_many(17, interrupt.get());
    EXPECT_FALSE(client->SetIrqs({}, too_many).ok());
  }
  server_->RemoveDevice(kVm, kDevice);
  server_->Stop();
  // Epoll, its eventfd and the spare stay until the server goes; the listeners of the device
  // and of the control socket do not.
  EXPECT_EQ(OpenDescriptors(), before - 2);
}

TEST_F(VmmServerTest, RemovedDeviceHasNoSocketAndNoConnection) {
  const auto shim = Add(kVm, kDevice);
  auto client = Connect(kVm, kDevice);
  server_->RemoveDevice(kVm, kDevice);
  EXPECT_FALSE(std::filesystem::exists(Path(kVm, kDevice)));
  EXPECT_EQ(client->Reset().code(), absl::StatusCode::kUnavailable);
  shim->WaitFor("disconnect");
  const auto again = Add(kVm, kDevice);
  EXPECT_NE(Connect(kVm, kDevice), nullptr);
}

TEST_F(VmmServerTest, AddedTwiceIsRefused) {
  Add(kVm, kDevice);
  EXPECT_EQ(server_->AddDevice(kVm, kDevice, std::make_shared<FakeShim>()).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_NE(Connect(kVm, kDevice), nullptr);
}

TEST_F(VmmServerTest, StopTellsEachShimAndRemovesEachSocket) {
  const auto first = Add(kVm, kDevice);
  const auto second = Add(kOtherVm, kOtherDevice);
  auto client = Connect(kVm, kDevice);
  server_->Stop();
  EXPECT_THAT(first->calls(), ElementsAre("connect", "disconnect"));
  EXPECT_THAT(second->calls(), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(VmmServerTest, StopWaitsForACallThatBlocks) {
  const auto shim = Add(kVm, kDevice);
  auto client = Connect(kVm, kDevice);
  shim->Block();
  auto reset = std::async(std::launch::async, [&] { return client->Reset(); });
  shim->WaitFor("reset");
  auto stop = std::async(std::launch::async, [&] { server_->Stop(); });
  shim->Unblock();
  stop.get();
  EXPECT_THAT(shim->calls(), ElementsAre("connect", "reset", "disconnect"));
  reset.wait();
}

TEST_F(VmmServerTest, ManyMachinesComeAndGoAtOnce) {
  constexpr int kMachines = 16;
  std::vector<std::future<void>> machines;
  machines.reserve(kMachines);
  for (int i = 0; i < kMachines; ++i) {
    machines.push_back(std::async(std::launch::async, [this, i] {
      const std::string vm = "projects/p/virtualMachines/v" + std::to_string(i);
      const auto shim = Add(vm.c_str(), kDevice);
      for (int round = 0; round < 5; ++round) {
        auto client = Connect(vm.c_str(), kDevice);
        for (int access = 0; access < 20; ++access) {
          EXPECT_TRUE(client->WriteRegion(0, 0, "1234").ok());
          EXPECT_EQ(client->ReadRegion(0, 0, 4).value(), "1234");
        }
      }
      server_->RemoveDevice(vm, kDevice);
    }));
  }
  for (auto& machine : machines) machine.get();
}

}  // namespace
}  // namespace nestor::agent
