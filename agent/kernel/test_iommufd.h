// Test only: the calls of a process that drives a device through iommufd, in few words.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/test_page_table.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::kernel {

inline constexpr uint32_t kMapAll = uapi::IOMMU_IOAS_MAP_FIXED_IOVA |
                                    uapi::IOMMU_IOAS_MAP_READABLE | uapi::IOMMU_IOAS_MAP_WRITEABLE;

inline SimMachine IommufdMachine(int devices = 2,
                                 SimPersonality personality = SimPersonality::kLinux7_2) {
  SimMachine machine = DefaultSimMachine(devices);
  machine.personality = personality;
  return machine;
}

// An open /dev/iommu; each call gives the kernel's result, those that make an object its id.
class TestIommufd {
 public:
  explicit TestIommufd(Syscalls& process)
      : process_(process), fd_(process.Open("/dev/iommu", O_RDWR)) {}
  ~TestIommufd() { Close(); }
  TestIommufd(const TestIommufd&) = delete;
  TestIommufd& operator=(const TestIommufd&) = delete;

  int fd() const { return fd_; }
  void Close() {
    if (fd_ >= 0) process_.Close(fd_);
    fd_ = -1;
  }

  template <typename Struct>
  int Call(uint32_t request, Struct* argument) {
    return process_.IoctlPointer(fd_, request, argument);
  }
  int Ioas() {
    uapi::iommu_ioas_alloc alloc = {.size = sizeof(alloc), .flags = 0, .out_ioas_id = 0};
    const int result = Call(uapi::IOMMU_IOAS_ALLOC, &alloc);
    return result < 0 ? result : static_cast<int>(alloc.out_ioas_id);
  }
  int Map(int ioas, uint64_t iova, uint64_t length, uint64_t address, uint32_t flags = kMapAll) {
    uapi::iommu_ioas_map map = {.size = sizeof(map),
                                .flags = flags,
                                .ioas_id = static_cast<uint32_t>(ioas),
                                .reserved = 0,
                                .user_va = address,
                                .length = length,
                                .iova = iova};
    return Call(uapi::IOMMU_IOAS_MAP, &map);
  }
  int Map(int ioas, const TestRam& ram) {
    return Map(ioas, ram.guest_address(), ram.size(), ram.user_address());
  }
  // Bytes unmapped, or -errno.
  int64_t Unmap(int ioas, uint64_t iova, uint64_t length) {
    uapi::iommu_ioas_unmap unmap = {.size = sizeof(unmap),
                                    .ioas_id = static_cast<uint32_t>(ioas),
                                    .iova = iova,
                                    .length = length};
    const int result = Call(uapi::IOMMU_IOAS_UNMAP, &unmap);
    return result < 0 ? result : static_cast<int64_t>(unmap.length);
  }
  int Destroy(int id) {
    uapi::iommu_destroy destroy = {.size = sizeof(destroy), .id = static_cast<uint32_t>(id)};
    return Call(uapi::IOMMU_DESTROY, &destroy);
  }
  int Hwpt(uapi::iommu_hwpt_alloc alloc) {
    alloc.size = sizeof(alloc);
    const int result = Call(uapi::IOMMU_HWPT_ALLOC, &alloc);
    return result < 0 ? result : static_cast<int>(alloc.out_hwpt_id);
  }
  // Over an IOAS.
  int Paging(int device, int ioas, uint32_t flags) {
    uapi::iommu_hwpt_alloc alloc = {};
    alloc.flags = flags;
    alloc.dev_id = static_cast<uint32_t>(device);
    alloc.pt_id = static_cast<uint32_t>(ioas);
    return Hwpt(alloc);
  }
  // A nest parent that goes with PASIDs.
  int Parent(int device, int ioas) {
    return Paging(device, ioas, uapi::IOMMU_HWPT_ALLOC_NEST_PARENT | uapi::IOMMU_HWPT_ALLOC_PASID);
  }
  // With a driver's data.
  template <typename Data>
  int Nested(int device, int parent, uint32_t type, const Data& data, uint32_t flags) {
    uapi::iommu_hwpt_alloc alloc = {};
    alloc.flags = flags;
    alloc.dev_id = static_cast<uint32_t>(device);
    alloc.pt_id = static_cast<uint32_t>(parent);
    alloc.data_type = type;
    alloc.data_len = sizeof(data);
    alloc.data_uptr = reinterpret_cast<uint64_t>(&data);
    return Hwpt(alloc);
  }
  // A guest's table under VT-d.
  int Vtd(int device, int parent, uint64_t root, uint32_t width = 48, uint64_t s1_flags = 0,
          uint32_t flags = uapi::IOMMU_HWPT_ALLOC_PASID) {
    const uapi::iommu_hwpt_vtd_s1 data = {
        .flags = s1_flags, .pgtbl_addr = root, .addr_width = width, .reserved = 0};
    return Nested(device, parent, uapi::IOMMU_HWPT_DATA_VTD_S1, data, flags);
  }
  int Invalidate(int hwpt, uint64_t address, uint64_t pages) {
    uapi::iommu_hwpt_vtd_s1_invalidate entry = {
        .addr = address, .npages = pages, .flags = 0, .reserved = 0};
    uapi::iommu_hwpt_invalidate invalidate = {};
    invalidate.size = sizeof(invalidate);
    invalidate.hwpt_id = static_cast<uint32_t>(hwpt);
    invalidate.data_uptr = reinterpret_cast<uint64_t>(&entry);
    invalidate.entry_len = sizeof(entry);
    invalidate.entry_num = 1;
    return Call(uapi::IOMMU_HWPT_INVALIDATE, &invalidate);
  }

 private:
  Syscalls& process_;
  int fd_;
};

// An open device file.
class TestCdev {
 public:
  explicit TestCdev(Syscalls& process, const std::string& name = "vfio0")
      : process_(process), fd_(process.Open("/dev/vfio/devices/" + name, O_RDWR)) {}
  ~TestCdev() { Close(); }
  TestCdev(const TestCdev&) = delete;
  TestCdev& operator=(const TestCdev&) = delete;

  int fd() const { return fd_; }
  void Close() {
    if (fd_ >= 0) process_.Close(fd_);
    fd_ = -1;
  }
  // The id of the device, or -errno.
  int Bind(int iommufd, uint32_t flags = 0) {
    uapi::vfio_device_bind_iommufd bind = {.argsz = sizeof(bind),
                                           .flags = flags,
                                           .iommufd = iommufd,
                                           .out_devid = 0,
                                           .token_uuid_ptr = 0};
    const int result = process_.IoctlPointer(fd_, uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind);
    return result < 0 ? result : static_cast<int>(bind.out_devid);
  }
  // The id of the HWPT, or -errno.
  int Attach(int id) {
    uapi::vfio_device_attach_iommufd_pt attach = {.argsz = uapi::VFIO_DEVICE_ATTACH_MIN_SIZE,
                                                  .flags = 0,
                                                  .pt_id = static_cast<uint32_t>(id),
                                                  .pasid = 0};
    return Attach(attach);
  }
  int AttachPasid(uint32_t pasid, int id) {
    uapi::vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach),
                                                  .flags = uapi::VFIO_DEVICE_ATTACH_PASID,
                                                  .pt_id = static_cast<uint32_t>(id),
                                                  .pasid = pasid};
    return Attach(attach);
  }
  int Detach() {
    uapi::vfio_device_detach_iommufd_pt detach = {
        .argsz = uapi::VFIO_DEVICE_DETACH_MIN_SIZE, .flags = 0, .pasid = 0};
    return process_.IoctlPointer(fd_, uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
  }
  int DetachPasid(uint32_t pasid) {
    uapi::vfio_device_detach_iommufd_pt detach = {
        .argsz = sizeof(detach), .flags = uapi::VFIO_DEVICE_DETACH_PASID, .pasid = pasid};
    return process_.IoctlPointer(fd_, uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
  }

 private:
  int Attach(uapi::vfio_device_attach_iommufd_pt& attach) {
    const int result = process_.IoctlPointer(fd_, uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
    return result < 0 ? result : static_cast<int>(attach.pt_id);
  }

  Syscalls& process_;
  int fd_;
};

}  // namespace nestor::kernel
