// Test only: the calls of a process that sets up a container, in few words.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/kernel/sim_device.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_page_table.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {

using TestBytes = std::vector<uint8_t>;

// VFIO_IOMMU_NESTING_OP with its data, as vector T3 has it: a bind of PASID 5 to a 4-level
// root at 0x12345000. Other vectors change fields of this.
struct TestBind {
  uapi::vfio_iommu_type1_nesting_op header = {.argsz = 80,
                                              .flags = uapi::VFIO_IOMMU_NESTING_OP_BIND_PGTBL};
  uapi::iommu_gpasid_bind_data data = {};
  TestBind() {
    data.argsz = sizeof(data);
    data.version = 1;
    data.format = uapi::IOMMU_PASID_FORMAT_INTEL_VTD;
    data.addr_width = 48;
    data.gpgd = 0x12345000;
    data.hpasid = 5;
  }
};
static_assert(sizeof(TestBind) == 80);

// An invalidation of all of PASID 5, vector T7.
struct TestInvalidate {
  uapi::vfio_iommu_type1_nesting_op header = {.argsz = 64,
                                              .flags = uapi::VFIO_IOMMU_NESTING_OP_CACHE_INVLD};
  uapi::iommu_cache_invalidate_info info = {};
  TestInvalidate() {
    info.argsz = sizeof(info);
    info.version = 1;
    info.cache = uapi::IOMMU_CACHE_INV_TYPE_IOTLB;
    info.granularity = uapi::IOMMU_INV_GRANU_PASID;
    info.granu.pasid_info.flags = uapi::IOMMU_INV_PASID_FLAGS_PASID;
    info.granu.pasid_info.pasid = 5;
  }
};
static_assert(sizeof(TestInvalidate) == 64);

// A container with one group, each call giving the kernel's result. Destruction closes what
// is open, the device first.
class TestContainer {
 public:
  // Opens container and group, and joins them.
  TestContainer(Syscalls& process, int group) : process_(process) {
    container_ = process_.Open("/dev/vfio/vfio", O_RDWR);
    group_ = process_.Open("/dev/vfio/" + std::to_string(group), O_RDWR);
    joined_ = process_.IoctlPointer(group_, uapi::VFIO_GROUP_SET_CONTAINER, &container_);
  }
  // And sets the IOMMU to nesting.
  static TestContainer Nesting(Syscalls& process, int group = 1) {
    TestContainer container(process, group);
    container.SetIommu(uapi::VFIO_TYPE1_NESTING_IOMMU);
    return container;
  }
  TestContainer(TestContainer&& other) noexcept
      : process_(other.process_),
        container_(std::exchange(other.container_, -1)),
        group_(std::exchange(other.group_, -1)),
        device_(std::exchange(other.device_, -1)),
        joined_(other.joined_) {}
  TestContainer& operator=(TestContainer&&) = delete;
  ~TestContainer() {
    CloseDevice();
    CloseGroup();
    CloseContainer();
  }

  int container() const { return container_; }
  int group() const { return group_; }
  int device() const { return device_; }
  int joined() const { return joined_; }  // of VFIO_GROUP_SET_CONTAINER

  int SetIommu(uint32_t type) { return process_.Ioctl(container_, uapi::VFIO_SET_IOMMU, type); }
  int OpenDevice(const char* bdf = "0000:01:00.0") {
    const int fd =
        process_.IoctlPointer(group_, uapi::VFIO_GROUP_GET_DEVICE_FD, const_cast<char*>(bdf));
    if (fd >= 0) device_ = fd;
    return fd;
  }
  void CloseDevice() { Close(&device_); }
  void CloseGroup() { Close(&group_); }
  void CloseContainer() { Close(&container_); }
  // Leaves open what is open: the process ends before this does.
  void Forget() { container_ = group_ = device_ = -1; }

  int Map(uint64_t iova, uint64_t size, uint64_t vaddr,
          uint32_t flags = uapi::VFIO_DMA_MAP_FLAG_READ | uapi::VFIO_DMA_MAP_FLAG_WRITE) {
    uapi::vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map), .flags = flags, .vaddr = vaddr, .iova = iova, .size = size};
    return Call(uapi::VFIO_IOMMU_MAP_DMA, &map);
  }
  int Map(const TestRam& ram) { return Map(ram.guest_address(), ram.size(), ram.user_address()); }
  // Bytes unmapped, or -errno.
  int64_t Unmap(uint64_t iova, uint64_t size) {
    uapi::vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap), .flags = 0, .iova = iova, .size = size};
    const int result = Call(uapi::VFIO_IOMMU_UNMAP_DMA, &unmap);
    return result < 0 ? result : static_cast<int64_t>(unmap.size);
  }
  int Pasid(uint32_t flags, uint32_t min, uint32_t max) {
    uapi::vfio_iommu_type1_pasid_request request = {
        .argsz = sizeof(request), .flags = flags, .range = {min, max}};
    return Call(uapi::VFIO_IOMMU_PASID_REQUEST, &request);
  }
  int Allocate(uint32_t pasid) { return Pasid(uapi::VFIO_IOMMU_FLAG_ALLOC_PASID, pasid, pasid); }
  int Free(uint32_t pasid) { return Pasid(uapi::VFIO_IOMMU_FLAG_FREE_PASID, pasid, pasid); }
  int Bind(TestBind bind) { return Call(uapi::VFIO_IOMMU_NESTING_OP, &bind); }
  int Bind(uint32_t pasid, uint64_t root, uint32_t width = 48) {
    TestBind bind;
    bind.data.hpasid = pasid;
    bind.data.gpgd = root;
    bind.data.addr_width = width;
    return Bind(bind);
  }
  int Unbind(uint32_t pasid) {
    TestBind bind;
    bind.header.flags = uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL;
    bind.data.hpasid = pasid;
    return Bind(bind);
  }
  int Invalidate(TestInvalidate invalidate) {
    return Call(uapi::VFIO_IOMMU_NESTING_OP, &invalidate);
  }
  // An ioctl on the container.
  int Call(uint32_t request, void* argument) {
    return process_.IoctlPointer(container_, request, argument);
  }

 private:
  void Close(int* fd) {
    if (*fd >= 0) process_.Close(std::exchange(*fd, -1));
  }

  Syscalls& process_;
  int container_ = -1;
  int group_ = -1;
  int device_ = -1;
  int joined_ = 0;
};

// The driver of a simulated device.
class TestEngine {
 public:
  // `fd`: of the device.
  TestEngine(Syscalls& process, int fd) : process_(process), fd_(fd) {}

  // What memory holds; empty: a fault, see reason().
  std::string Read(std::optional<uint32_t> pasid, uint64_t address, size_t size,
                   bool privileged = false) {
    if (Run(kSimCommandRead, pasid, address, size, privileged) != kSimStatusDone) return "";
    std::string text(size, '\0');
    process_.Pread(fd_, text.data(), size, kSimDeviceBuffer);
    return text;
  }
  // Whether there was no fault.
  bool Write(std::optional<uint32_t> pasid, uint64_t address, const std::string& text,
             bool privileged = false) {
    process_.Pwrite(fd_, text.data(), text.size(), kSimDeviceBuffer);
    return Run(kSimCommandWrite, pasid, address, text.size(), privileged) == kSimStatusDone;
  }
  // The status afterwards.
  uint64_t Run(uint64_t command, std::optional<uint32_t> pasid, uint64_t address, uint64_t size,
               bool privileged = false) {
    Set(kSimRegisterPasid,
        (pasid ? kSimPasidValid | *pasid : 0) | (privileged ? kSimPasidPrivileged : 0));
    Set(kSimRegisterAddress, address);
    Set(kSimRegisterLength, size);
    Set(kSimRegisterCommand, command);
    return Get(kSimRegisterStatus);
  }
  uint64_t reason() const { return Get(kSimRegisterFaultReason); }
  uint64_t fault_address() const { return Get(kSimRegisterFaultAddress); }

  uint64_t Get(uint64_t offset) const {
    uint64_t value = 0;
    process_.Pread(fd_, &value, sizeof(value), offset);
    return value;
  }
  void Set(uint64_t offset, uint64_t value) { process_.Pwrite(fd_, &value, sizeof(value), offset); }

 private:
  Syscalls& process_;
  const int fd_;
};

}  // namespace nestor::kernel
