// Test only: shims of the inline launcher on a RecordingBackend, and what they say.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/shim/inline_shim.h"
#include "agent/shim/recording_backend.h"
#include "agent/shim/shim_core_fixture.h"

namespace nestor::agent {

inline constexpr uint64_t kMapAddress = 0x7f00'0000'0000;

// Only memory and descriptors; nothing else is called here.
class MemorySyscalls final : public kernel::Syscalls {
 public:
  std::atomic<int> closed = 0;
  std::atomic<int> mapped = 0;
  std::atomic<int> mmap_error = 0;

  int Close(int) override {
    ++closed;
    return 0;
  }
  int64_t Mmap(size_t, int, int, int, uint64_t) override {
    if (mmap_error != 0) return -mmap_error;
    return static_cast<int64_t>(kMapAddress + 0x1000'0000u * static_cast<unsigned>(++mapped));
  }
  int Munmap(uint64_t, size_t) override {
    --mapped;
    return 0;
  }
  int Open(const std::string&, int) override { return -ENOSYS; }
  int Ioctl(int, unsigned long, uint64_t) override { return -ENOSYS; }  // NOLINT: kernel's type
  ssize_t Pread(int, void*, size_t, uint64_t) override { return -ENOSYS; }
  ssize_t Pwrite(int, const void*, size_t, uint64_t) override { return -ENOSYS; }
  int Readlink(const std::string&, std::string*) override { return -ENOSYS; }
  int Readdir(const std::string&, std::vector<std::string>*) override { return -ENOSYS; }
  int ReadFile(const std::string&, std::string*) override { return -ENOSYS; }
  int WriteFile(const std::string&, const std::string&) override { return -ENOSYS; }
};

// Keeps what all shims say.
class Reports {
 public:
  void Take(const std::string& vm_uid, ShimReport report) {
    {
      std::lock_guard lock(mutex_);
      for (const v1::Result& result : report.bindings) {
        bindings_.push_back(vm_uid + " " + Summary(result));
      }
      for (auto& machine : report.virtual_machines) machines_.push_back(std::move(machine));
    }
    changed_.notify_all();
  }
  // Whether `summary` came, or comes within 10 s.
  bool WaitForBinding(const std::string& summary) {
    return WaitFor([&] { return std::count(bindings_.begin(), bindings_.end(), summary) > 0; });
  }
  bool WaitForMachine(const std::function<bool(const v1::VirtualMachineResult&)>& matches) {
    return WaitFor([&] { return std::any_of(machines_.begin(), machines_.end(), matches); });
  }
  std::vector<std::string> bindings() {
    std::lock_guard lock(mutex_);
    return bindings_;
  }

 private:
  bool WaitFor(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> bindings_;
  std::vector<v1::VirtualMachineResult> machines_;
};

class InlineShimTest : public ::testing::Test {
 protected:
  InlineShimTest() { StartLauncher({.workers = 2, .backoff = {.first = absl::Milliseconds(1)}}); }

  void StartLauncher(const InlineShimOptions& options) {
    launcher_.emplace(
        backend_, syscalls_, clock_,
        [this](const std::string& vm_uid, ShimReport report) {
          reports_.Take(vm_uid, std::move(report));
        },
        options);
  }
  std::shared_ptr<Shim> Launch(const std::string& vm_uid = kVmUid) {
    return launcher_->Launch("projects/p/virtualMachines/" + vm_uid, vm_uid).value();
  }
  static v1::Fence Fence() {
    v1::Fence fence;
    fence.set_incarnation("store-1");
    fence.set_epoch(1);
    fence.set_head_revision(1);
    return fence;
  }
  static absl::Status Tell(Shim& shim, v1::DesiredVirtualMachine machine,
                           const std::string& vm_uid = kVmUid) {
    machine.set_uid(vm_uid);
    return shim.Apply(Fence(), &machine, {});
  }
  static absl::Status Tell(Shim& shim, v1::DesiredBinding binding,
                           const std::string& vm_uid = kVmUid) {
    binding.set_vm_uid(vm_uid);
    return shim.Apply(Fence(), nullptr, {binding});
  }
  static GuestMemory Memory(uint64_t guest_address) {
    return {.guest_address = guest_address, .size = 0x10000, .fd = 7};
  }
  // A machine whose guest runs on kA with 64 KiB of memory.
  std::shared_ptr<Shim> LaunchGuest(const std::string& vm_uid = kVmUid) {
    auto shim = Launch(vm_uid);
    EXPECT_TRUE(Tell(*shim, Machine(1, {kA}), vm_uid).ok());
    EXPECT_TRUE(shim->VmmConnected(kA).ok());
    EXPECT_TRUE(shim->MapMemory(kA, Memory(0)).ok());
    return shim;
  }

  RecordingBackend backend_;
  MemorySyscalls syscalls_;
  SystemClock clock_;
  Reports reports_;
  std::optional<InlineShimLauncher> launcher_;  // ends first
};

}  // namespace nestor::agent
