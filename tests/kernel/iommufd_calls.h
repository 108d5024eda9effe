// The calls of iommufd as single functions that answer as the kernel does, for tests of what it
// answers.
#pragma once

#include <cstdint>
#include <string>

#include "agent/kernel/syscalls.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::kernel_test {

// An open /dev/iommu; each call returns an id, a count, 0 or -errno.
class IommufdCalls {
 public:
  // -errno where there is no /dev/iommu: see fd().
  explicit IommufdCalls(kernel::Syscalls& syscalls);
  ~IommufdCalls();
  IommufdCalls(const IommufdCalls&) = delete;
  IommufdCalls& operator=(const IommufdCalls&) = delete;

  int fd() const { return fd_; }

  int64_t AllocateIoas();
  int64_t Destroy(uint32_t id);
  // Fixed address, readable, and writable unless told otherwise.
  int64_t Map(uint32_t ioas, uint64_t iova, uint64_t user_address, uint64_t size,
              bool writable = true);
  int64_t MapFile(uint32_t ioas, uint64_t iova, int file, uint64_t size);
  // Bytes unmapped.
  int64_t Unmap(uint32_t ioas, uint64_t iova, uint64_t size);
  int64_t GetHardware(uint32_t device, kernel::uapi::iommu_hw_info* info);

  struct Hwpt {
    uint32_t flags = 0;
    uint32_t data_type = 0;
    uint64_t data = 0;  // address of a struct of data_size bytes
    uint32_t data_size = 0;
    uint32_t fault_queue = 0;
  };
  int64_t AllocateHwpt(uint32_t device, uint32_t parent, const Hwpt& hwpt);
  int64_t AllocateHwpt(uint32_t device, uint32_t parent) {
    return AllocateHwpt(device, parent, Hwpt{});
  }
  // `done`: entries that were done, also where the call fails.
  int64_t Invalidate(uint32_t target, uint32_t data_type, const void* entries, uint32_t entry_size,
                     uint32_t count, uint32_t* done);
  int64_t AllocateViommu(uint32_t device, uint32_t parent, uint32_t type);
  int64_t AllocateVdevice(uint32_t viommu, uint32_t device, uint64_t virtual_id);
  // And its file.
  int64_t AllocateFaultQueue(int* file);

  int64_t Call(uint32_t request, void* argument);

 private:
  kernel::Syscalls& syscalls_;
  const int fd_;
};

}  // namespace nestor::kernel_test
