// Clients that die, and clients that share: nobody is left with another's things.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>

#include "agent/kernel/sim_device.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "gtest/gtest.h"
#include "tests/simkernel/simkernel_process.h"

namespace nestor::testing {
namespace {

using kernel::Syscalls;
using kernel::TestContainer;
using kernel::TestEngine;
namespace uapi = kernel::uapi;

constexpr uint64_t kIova = 0x100000;
constexpr uint64_t kSize = 64 * 1024;

// Memory at the same address in the test and in its children.
class SharedMemory {
 public:
  SharedMemory()
      : address_(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {}
  ~SharedMemory() { munmap(address_, kSize); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  uint64_t address() const { return reinterpret_cast<uint64_t>(address_); }
  int64_t* words() const { return static_cast<int64_t*>(address_); }

 private:
  void* const address_;
};

class KilledClientTest : public ::testing::Test {
 protected:
  void ExpectNothingHeld() {
    for (const char* name :
         {"descriptors", "containers", "groups", "pasid_sets", "pasids", "bindings", "mappings"}) {
      EXPECT_EQ(simkernel_.Count(name), 0) << name;
    }
  }

  SimkernelProcess simkernel_;
  std::unique_ptr<Syscalls> client_ = simkernel_.Connect();
  const SharedMemory memory_;
};

TEST_F(KilledClientTest, KernelTakesBackAllThatItHeld) {
  ForkedChild child([&] {
    TestContainer container = TestContainer::Nesting(*client_);
    container.OpenDevice();
    container.Map(kIova, kSize, memory_.address());
    container.Allocate(5);
    container.Bind(5, kIova);
    container.Forget();
  });
  EXPECT_EQ(simkernel_.Count("descriptors"), 3);
  EXPECT_EQ(simkernel_.Count("bindings"), 1);
  EXPECT_EQ(simkernel_.Count("mappings"), 1);
  child.Kill();
  ExpectNothingHeld();
}

TEST_F(KilledClientTest, DeathInMidCallHurtsNobody) {
  for (int i = 0; i < 20; ++i) {
    int begun[2];
    ASSERT_EQ(pipe2(begun, O_CLOEXEC), 0);
    // Signals that it is at work from inside, and never comes to its end.
    const pid_t busy = fork();
    if (busy == 0) {
      for (bool first = true;; first = false) {
        TestContainer container = TestContainer::Nesting(*client_);
        container.OpenDevice();
        container.Map(kIova, kSize, memory_.address());
        container.Allocate(5);
        if (first) static_cast<void>(write(begun[1], "b", 1));
      }
    }
    char byte;
    ASSERT_EQ(read(begun[0], &byte, 1), 1);
    kill(busy, SIGKILL);
    waitpid(busy, nullptr, 0);
    close(begun[0]);
    close(begun[1]);
    ExpectNothingHeld();
  }
}

// A real kernel would go on with the pinned pages; see sim_kernel.h.
TEST_F(KilledClientTest, DmaToItsMemoryFaultsWhereTheContainerLivesOn) {
  TestContainer container = TestContainer::Nesting(*client_);
  TestEngine engine(*client_, container.OpenDevice());
  memory_.words()[0] = 42;
  ForkedChild child([&] {
    if (container.Map(kIova, kSize, memory_.address()) != 0) _exit(1);
  });
  EXPECT_EQ(engine.Run(kernel::kSimCommandRead, {}, kIova, 8), kernel::kSimStatusDone);
  EXPECT_EQ(engine.Get(kernel::kSimDeviceBuffer), 42U);
  child.Kill();
  EXPECT_EQ(simkernel_.Count("mappings"), 1);
  EXPECT_EQ(engine.Run(kernel::kSimCommandRead, {}, kIova, 8), kernel::kSimStatusFault);
}

TEST_F(KilledClientTest, ForkedChildIsAnotherProcess) {
  TestContainer container = TestContainer::Nesting(*client_);
  ASSERT_EQ(container.Map(kIova, kSize, memory_.address()), 0);
  ForkedChild child([&] {
    memory_.words()[0] = container.Unmap(kIova, kSize);  // of memory that is not its own
  });
  EXPECT_EQ(memory_.words()[0], 0);
  EXPECT_EQ(simkernel_.Count("mappings"), 1);
  EXPECT_EQ(container.Unmap(kIova, kSize), static_cast<int64_t>(kSize));
}

// Each writes and reads back words of its own through the one descriptor of the device.
int64_t Mismatches(Syscalls& client, int device, uint64_t offset) {
  int64_t mismatches = 0;
  for (uint64_t word = offset; word < offset + 500; ++word) {
    uint64_t read_back = 0;
    client.Pwrite(device, &word, sizeof(word), offset);
    const ssize_t size = client.Pread(device, &read_back, sizeof(read_back), offset);
    if (size != sizeof(read_back) || read_back != word) ++mismatches;
  }
  return mismatches;
}

TEST_F(KilledClientTest, ProcessesThatShareADescriptorGetTheirOwnResults) {
  TestContainer container = TestContainer::Nesting(*client_);
  const int device = container.OpenDevice();
  int start[2];
  ASSERT_EQ(pipe2(start, O_CLOEXEC), 0);
  const pid_t other = fork();
  if (other == 0) {
    char byte;
    static_cast<void>(read(start[0], &byte, 1));
    _exit(Mismatches(*client_, device, kernel::kSimDeviceBuffer + 4096) == 0 ? 0 : 1);
  }
  ASSERT_EQ(write(start[1], "s", 1), 1);
  EXPECT_EQ(Mismatches(*client_, device, kernel::kSimDeviceBuffer), 0);
  int status = -1;
  waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
  close(start[0]);
  close(start[1]);
}

}  // namespace
}  // namespace nestor::testing
