#include "tests/kernel/iommufd_calls.h"

#include <fcntl.h>

namespace nestor::kernel_test {

namespace uapi = kernel::uapi;

IommufdCalls::IommufdCalls(kernel::Syscalls& syscalls)
    : syscalls_(syscalls), fd_(syscalls.Open("/dev/iommu", O_RDWR)) {}

IommufdCalls::~IommufdCalls() {
  if (fd_ >= 0) syscalls_.Close(fd_);
}

int64_t IommufdCalls::Call(uint32_t request, void* argument) {
  return syscalls_.IoctlPointer(fd_, request, argument);
}

int64_t IommufdCalls::AllocateIoas() {
  uapi::iommu_ioas_alloc alloc = {.size = sizeof(alloc), .flags = 0, .out_ioas_id = 0};
  const int64_t result = Call(uapi::IOMMU_IOAS_ALLOC, &alloc);
  return result < 0 ? result : alloc.out_ioas_id;
}

int64_t IommufdCalls::Destroy(uint32_t id) {
  uapi::iommu_destroy destroy = {.size = sizeof(destroy), .id = id};
  return Call(uapi::IOMMU_DESTROY, &destroy);
}

int64_t IommufdCalls::Map(uint32_t ioas, uint64_t iova, uint64_t user_address, uint64_t size,
                          bool writable) {
  uapi::iommu_ioas_map map = {};
  map.size = sizeof(map);
  map.flags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE |
              (writable ? uapi::IOMMU_IOAS_MAP_WRITEABLE : 0);
  map.ioas_id = ioas;
  map.user_va = user_address;
  map.length = size;
  map.iova = iova;
  return Call(uapi::IOMMU_IOAS_MAP, &map);
}

int64_t IommufdCalls::MapFile(uint32_t ioas, uint64_t iova, int file, uint64_t size) {
  uapi::iommu_ioas_map_file map = {};
  map.size = sizeof(map);
  map.flags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE |
              uapi::IOMMU_IOAS_MAP_WRITEABLE;
  map.ioas_id = ioas;
  map.fd = file;
  map.length = size;
  map.iova = iova;
  return Call(uapi::IOMMU_IOAS_MAP_FILE, &map);
}

int64_t IommufdCalls::Unmap(uint32_t ioas, uint64_t iova, uint64_t size) {
  uapi::iommu_ioas_unmap unmap = {
      .size = sizeof(unmap), .ioas_id = ioas, .iova = iova, .length = size};
  const int64_t result = Call(uapi::IOMMU_IOAS_UNMAP, &unmap);
  return result < 0 ? result : static_cast<int64_t>(unmap.length);
}

int64_t IommufdCalls::GetHardware(uint32_t device, uapi::iommu_hw_info* info) {
  info->size = sizeof(*info);
  info->dev_id = device;
  return Call(uapi::IOMMU_GET_HW_INFO, info);
}

int64_t IommufdCalls::AllocateHwpt(uint32_t device, uint32_t parent, const Hwpt& hwpt) {
  uapi::iommu_hwpt_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.flags = hwpt.flags;
  alloc.dev_id = device;
  alloc.pt_id = parent;
  alloc.data_type = hwpt.data_type;
  alloc.data_len = hwpt.data_size;
  alloc.data_uptr = hwpt.data;
  alloc.fault_id = hwpt.fault_queue;
  const int64_t result = Call(uapi::IOMMU_HWPT_ALLOC, &alloc);
  return result < 0 ? result : alloc.out_hwpt_id;
}

int64_t IommufdCalls::Invalidate(uint32_t target, uint32_t data_type, const void* entries,
                                 uint32_t entry_size, uint32_t count, uint32_t* done) {
  uapi::iommu_hwpt_invalidate invalidate = {};
  invalidate.size = sizeof(invalidate);
  invalidate.hwpt_id = target;
  invalidate.data_uptr = reinterpret_cast<uint64_t>(entries);
  invalidate.data_type = data_type;
  invalidate.entry_len = entry_size;
  invalidate.entry_num = count;
  const int64_t result = Call(uapi::IOMMU_HWPT_INVALIDATE, &invalidate);
  *done = invalidate.entry_num;
  return result;
}

int64_t IommufdCalls::AllocateViommu(uint32_t device, uint32_t parent, uint32_t type) {
  uapi::iommu_viommu_alloc alloc = {};
  alloc.size = uapi::IOMMU_VIOMMU_ALLOC_MIN_SIZE;
  alloc.type = type;
  alloc.dev_id = device;
  alloc.hwpt_id = parent;
  const int64_t result = Call(uapi::IOMMU_VIOMMU_ALLOC, &alloc);
  return result < 0 ? result : alloc.out_viommu_id;
}

int64_t IommufdCalls::AllocateVdevice(uint32_t viommu, uint32_t device, uint64_t virtual_id) {
  uapi::iommu_vdevice_alloc alloc = {};
  alloc.size = sizeof(alloc);
  alloc.viommu_id = viommu;
  alloc.dev_id = device;
  alloc.virt_id = virtual_id;
  const int64_t result = Call(uapi::IOMMU_VDEVICE_ALLOC, &alloc);
  return result < 0 ? result : alloc.out_vdevice_id;
}

int64_t IommufdCalls::AllocateFaultQueue(int* file) {
  uapi::iommu_fault_alloc alloc = {};
  alloc.size = sizeof(alloc);
  const int64_t result = Call(uapi::IOMMU_FAULT_QUEUE_ALLOC, &alloc);
  if (result < 0) return result;
  *file = static_cast<int>(alloc.out_fault_fd);
  return alloc.out_fault_id;
}

}  // namespace nestor::kernel_test
