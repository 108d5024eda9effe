#include "agent/kernel/sim_physical_memory.h"

#include <unistd.h>

#include <iterator>
#include <utility>

namespace nestor::kernel {
namespace {

// A frame that nobody has between two pins, so that running over the end of one is noticed.
constexpr uint64_t kGap = 4096;

}  // namespace

uint64_t SimPhysicalMemory::Pin(const UserMemory& owner, uint64_t address, uint64_t size) {
  const uint64_t frame = next_frame_;
  next_frame_ += size + kGap;
  PinnedRange pin{owner, address, size, nullptr};
  if (owner.is_foreign()) pin.pages = SharedMapping::Of(owner.pid(), address, size);
  if (pin.pages != nullptr) {
    pin.owner = UserMemory(getpid());
    pin.address = pin.pages->address();
  }
  pins_.emplace(frame, std::move(pin));
  return frame;
}

void SimPhysicalMemory::Unpin(uint64_t frame) { pins_.erase(frame); }

SimPhysicalMemory::Location SimPhysicalMemory::Find(uint64_t address, size_t size) const {
  const auto next = pins_.upper_bound(address);
  if (next == pins_.begin()) return {};
  const auto& [frame, pin] = *std::prev(next);
  const uint64_t offset = address - frame;
  if (offset > pin.size || size > pin.size - offset) return {};
  return {&pin.owner, pin.address + offset};
}

bool SimPhysicalMemory::Read(uint64_t address, void* buffer, size_t size) const {
  const Location location = Find(address, size);
  return location.owner != nullptr && location.owner->Read(location.address, buffer, size);
}

bool SimPhysicalMemory::Write(uint64_t address, const void* buffer, size_t size) const {
  const Location location = Find(address, size);
  return location.owner != nullptr && location.owner->Write(location.address, buffer, size);
}

}  // namespace nestor::kernel
