// Test only: a kernel whose iommufd says yes to everything, unless told otherwise, and keeps
// each call byte for byte. Its sysfs is a simulated machine's.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/syscalls.h"
#include "agent/kernel/uapi/iommufd.h"

namespace nestor::agent {

// `bytes` as the vectors of a specification show them: in memory order, by fours.
inline std::string Hex(const std::vector<uint8_t>& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0 && i % 4 == 0) text += ' ';
    absl::StrAppend(&text, absl::Hex(bytes[i], absl::kZeroPad2));
  }
  return text;
}

class TestIommufdKernel final : public kernel::Syscalls {
 public:
  static constexpr int kIommufd = 100;
  static constexpr int kDevice = 101;

  struct Call {
    int fd = 0;
    uint32_t request = 0;
    std::vector<uint8_t> bytes;  // of the struct, as it was given; pointers are zero
    std::vector<uint8_t> data;   // that its pointer shows
  };
  // The answer to a call: 0 or an id is made up where it is 0, else -errno.
  using Answer = std::function<int(const Call&)>;

  // What GET_HW_INFO says. By default a VT-d with everything.
  uint32_t hardware_type = kernel::uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD;
  uint8_t pasid_bits = 20;
  kernel::uapi::iommu_hw_info_vtd registers = {
      .flags = 0,
      .reserved = 0,
      .cap_reg = kernel::uapi::VTD_CAP_FL5LP,
      .ecap_reg = kernel::uapi::VTD_ECAP_SRS | kernel::uapi::VTD_ECAP_EAFS};
  Answer answer = [](const Call&) { return 0; };
  std::map<std::string, int> open_errors;  // errno by path
  std::vector<Call> calls;
  int open_files = 0;

  // Makes all calls of that number fail.
  void Fail(uint32_t request, int error) {
    answer = [request, error](const Call& call) { return call.request == request ? -error : 0; };
  }
  // Those calls since `calls` was cleared, each as Hex.
  std::vector<std::string> Sent(uint32_t request) const {
    std::vector<std::string> sent;
    for (const Call& call : calls) {
      if (call.request == request) sent.push_back(Hex(call.bytes));
    }
    return sent;
  }

  int Open(const std::string& path, int flags) override {
    if (const auto error = open_errors.find(path); error != open_errors.end()) {
      return -error->second;
    }
    if (path != "/dev/iommu" && path != "/dev/vfio/devices/vfio7") return sim_->Open(path, flags);
    ++open_files;
    return path == "/dev/iommu" ? kIommufd : kDevice;
  }
  int Close(int fd) override {
    if (fd != kIommufd && fd != kDevice) return sim_->Close(fd);
    --open_files;
    return 0;
  }
  int Ioctl(int fd, unsigned long request, uint64_t argument) override {  // NOLINT: kernel's type
    auto* bytes = reinterpret_cast<uint8_t*>(argument);                   // NOLINT: an address
    uint32_t size = 0;
    std::memcpy(&size, bytes, sizeof(size));
    Call call{fd, static_cast<uint32_t>(request), {bytes, bytes + size}, {}};
    TakePointer(&call);
    calls.push_back(call);
    const int result = answer(call);
    return result < 0 ? result : Succeed(call, bytes);
  }
  ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) override {
    return sim_->Pread(fd, buffer, size, offset);
  }
  ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) override {
    return sim_->Pwrite(fd, buffer, size, offset);
  }
  int64_t Mmap(size_t, int, int, int, uint64_t) override { return -ENODEV; }
  int Munmap(uint64_t, size_t) override { return -EINVAL; }
  int Readlink(const std::string& path, std::string* target) override {
    return sim_->Readlink(path, target);
  }
  int Readdir(const std::string& path, std::vector<std::string>* names) override {
    if (!absl::EndsWith(path, "/vfio-dev")) return sim_->Readdir(path, names);
    if (const auto error = open_errors.find(path); error != open_errors.end()) {
      return -error->second;
    }
    *names = {"vfio7"};
    return 0;
  }
  int ReadFile(const std::string& path, std::string* content) override {
    return sim_->ReadFile(path, content);
  }
  int WriteFile(const std::string& path, const std::string& content) override {
    return sim_->WriteFile(path, content);
  }

 private:
  // Where a struct has its pointer; 0: it has none that is read.
  static size_t PointerOffset(uint32_t request) {
    namespace uapi = kernel::uapi;
    if (request == uapi::IOMMU_HWPT_ALLOC) return offsetof(uapi::iommu_hwpt_alloc, data_uptr);
    if (request == uapi::IOMMU_HWPT_INVALIDATE) {
      return offsetof(uapi::iommu_hwpt_invalidate, data_uptr);
    }
    return 0;
  }
  static void TakePointer(Call* call) {
    const size_t offset = PointerOffset(call->request);
    if (offset == 0) return;
    uint64_t pointer = 0;
    std::memcpy(&pointer, &call->bytes[offset], sizeof(pointer));
    std::memset(&call->bytes[offset], 0, sizeof(pointer));
    const size_t length_offset = call->request == kernel::uapi::IOMMU_HWPT_ALLOC
                                     ? offsetof(kernel::uapi::iommu_hwpt_alloc, data_len)
                                     : offsetof(kernel::uapi::iommu_hwpt_invalidate, entry_len);
    uint32_t length = 0;
    std::memcpy(&length, &call->bytes[length_offset], sizeof(length));
    const auto* data = reinterpret_cast<const uint8_t*>(pointer);  // NOLINT: an address
    call->data.assign(data, data + length);
  }

  // Writes a result of 32 bits.
  static void Put(uint8_t* bytes, size_t offset, uint32_t value) {
    std::memcpy(bytes + offset, &value, sizeof(value));
  }

  int Succeed(const Call& call, uint8_t* bytes) {
    namespace uapi = kernel::uapi;
    switch (call.request) {
      case uapi::VFIO_DEVICE_BIND_IOMMUFD:
        Put(bytes, offsetof(uapi::vfio_device_bind_iommufd, out_devid), next_id_++);
        return 0;
      case uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT:
        return bytes[offsetof(uapi::vfio_device_attach_iommufd_pt, pt_id)] == 0 ? -ENOENT : 0;
      case uapi::IOMMU_IOAS_ALLOC:
        Put(bytes, offsetof(uapi::iommu_ioas_alloc, out_ioas_id), next_id_++);
        return 0;
      case uapi::IOMMU_HWPT_ALLOC:
        Put(bytes, offsetof(uapi::iommu_hwpt_alloc, out_hwpt_id), next_id_++);
        return 0;
      case uapi::IOMMU_VIOMMU_ALLOC:
        if (call.bytes.size() < uapi::IOMMU_VIOMMU_ALLOC_MIN_SIZE) return -EINVAL;
        Put(bytes, offsetof(uapi::iommu_viommu_alloc, out_viommu_id), next_id_++);
        return 0;
      case uapi::IOMMU_VDEVICE_ALLOC:
        Put(bytes, offsetof(uapi::iommu_vdevice_alloc, out_vdevice_id), next_id_++);
        return 0;
      case uapi::IOMMU_GET_HW_INFO:
        return TellHardware(bytes);
      case uapi::IOMMU_IOAS_IOVA_RANGES:
        return TellRanges(bytes);
      default:
        return 0;
    }
  }
  int TellHardware(uint8_t* bytes) const {
    kernel::uapi::iommu_hw_info info = {};
    std::memcpy(&info, bytes, sizeof(info));
    info.out_data_type = hardware_type;
    info.out_max_pasid_log2 = pasid_bits;
    std::memcpy(reinterpret_cast<void*>(info.data_uptr), &registers,  // NOLINT: an address
                sizeof(registers));
    std::memcpy(bytes, &info, sizeof(info));
    return 0;
  }
  static int TellRanges(uint8_t* bytes) {
    kernel::uapi::iommu_ioas_iova_ranges request = {};
    std::memcpy(&request, bytes, sizeof(request));
    const kernel::uapi::iommu_iova_range range = {.start = 0, .last = (uint64_t{1} << 48) - 1};
    const bool fits = request.num_iovas >= 1;
    if (fits) {
      std::memcpy(reinterpret_cast<void*>(request.allowed_iovas), &range,  // NOLINT: an address
                  sizeof(range));
    }
    request.num_iovas = 1;
    std::memcpy(bytes, &request, sizeof(request));
    return fits ? 0 : -EMSGSIZE;
  }

  kernel::SimKernel machine_{kernel::DefaultSimMachine(1)};
  const std::unique_ptr<kernel::SimProcess> sim_ = machine_.CreateProcess();
  uint32_t next_id_ = 1;
};

}  // namespace nestor::agent
