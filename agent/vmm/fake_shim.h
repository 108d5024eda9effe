// A shim that remembers what it was asked and answers what it was told. For tests.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "agent/shim/shim.h"

namespace nestor::agent {

// Region 0 is 64 KiB of plain memory, region 7 is 4 KiB of it; the others are empty.
// Thread-safe.
class FakeShim final : public Shim {
 public:
  // The monitor's calls so far, as "connect", "map 0x1000+0x2000", "read 0 0x10+4" and such.
  std::vector<std::string> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  // Waits until the call was made.
  void WaitFor(const std::string& call) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [&] { return std::find(calls_.begin(), calls_.end(), call) != calls_.end(); });
  }
  // What later calls of that name ("connect", "map", ...) answer.
  void Answer(const std::string& name, absl::Status status) {
    const std::lock_guard lock(mutex_);
    answers_[name] = std::move(status);
  }
  // Later calls block until Unblock.
  void Block() { SetBlocked(true); }
  void Unblock() { SetBlocked(false); }

  absl::Status Apply(const v1::Fence&, const v1::DesiredVirtualMachine*,
                     const std::vector<v1::DesiredBinding>&) override {
    return absl::UnimplementedError("not of the monitor's side");
  }
  ShimInventory Inventory() override {
    const std::lock_guard lock(mutex_);
    return inventory_;
  }
  void SetInventory(ShimInventory inventory) {
    const std::lock_guard lock(mutex_);
    inventory_ = std::move(inventory);
  }

  absl::StatusOr<std::string> VmmConnected(const Bdf&) override {
    if (auto status = Call("connect", ""); !status.ok()) return status;
    return "instance-1";
  }
  void VmmDisconnected(const Bdf&) override { Call("disconnect", "").IgnoreError(); }
  absl::Status MapMemory(const Bdf&, const GuestMemory& memory) override {
    if (memory.fd >= 0) close(memory.fd);
    return Call("map", absl::StrFormat(" 0x%x+0x%x", memory.guest_address, memory.size));
  }
  absl::Status UnmapMemory(const Bdf&, uint64_t guest_address, uint64_t size) override {
    return Call("unmap", absl::StrFormat(" 0x%x+0x%x", guest_address, size));
  }
  absl::StatusOr<uint64_t> RegionSize(const Bdf&, uint32_t region) override {
    if (region == 0) return kBarSize;
    return region == 7 ? 4096 : 0;
  }
  absl::StatusOr<std::string> ReadRegion(const Bdf&, uint32_t region, uint64_t offset,
                                         size_t size) override {
    auto status = Call("read", absl::StrFormat(" %d 0x%x+%d", region, offset, size));
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    return bar_.substr(offset, size);
  }
  absl::Status WriteRegion(const Bdf&, uint32_t region, uint64_t offset,
                           const std::string& data) override {
    auto status = Call("write", absl::StrFormat(" %d 0x%x+%d", region, offset, data.size()));
    if (!status.ok()) return status;
    const std::lock_guard lock(mutex_);
    bar_.replace(offset, data.size(), data);
    return absl::OkStatus();
  }
  absl::Status ResetDevice(const Bdf&) override { return Call("reset", ""); }
  void Invalidate(const BindingKey& key, uint64_t address, uint64_t size,
                  InvalidateDone done) override {
    done(Call("invalidate",
              absl::StrFormat(" %s %d 0x%x+0x%x", key.device, key.pasid, address, size)));
  }

 private:
  static constexpr uint64_t kBarSize = 64 << 10;

  absl::Status Call(const std::string& name, const std::string& arguments) {
    std::unique_lock lock(mutex_);
    calls_.push_back(name + arguments);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !blocked_; });
    const auto answer = answers_.find(name);
    return answer == answers_.end() ? absl::OkStatus() : answer->second;
  }
  void SetBlocked(bool blocked) {
    const std::lock_guard lock(mutex_);
    blocked_ = blocked;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> calls_;
  std::map<std::string, absl::Status> answers_;
  bool blocked_ = false;
  ShimInventory inventory_;
  std::string bar_ = std::string(kBarSize, '\0');
};

}  // namespace nestor::agent
