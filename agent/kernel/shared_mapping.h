// Pages of another process that stay when it goes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

namespace nestor::kernel {

// A second mapping, in this process, of a file that another process has mapped shared: what
// pinning such pages keeps of them. Unmaps when it goes.
class SharedMapping {
 public:
  // Of [address, address + size) of process `pid`, which still has the file open; the range is
  // page aligned. Null: not all of it is one shared mapping of such a file, e.g. private memory.
  static std::unique_ptr<SharedMapping> Of(pid_t pid, uint64_t address, uint64_t size);
  ~SharedMapping();
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  // Where the range begins in this process.
  uint64_t address() const { return reinterpret_cast<uint64_t>(start_); }

 private:
  SharedMapping(void* start, uint64_t size) : start_(start), size_(size) {}

  void* const start_;
  const uint64_t size_;
};

}  // namespace nestor::kernel
