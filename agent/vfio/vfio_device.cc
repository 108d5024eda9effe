#include "agent/vfio/vfio_device.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/device_reset.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

namespace uapi = kernel::uapi;

VfioDevice::VfioDevice(kernel::Syscalls& syscalls, VfioFile file)
    : syscalls_(syscalls), file_(std::move(file)) {}

absl::StatusOr<VfioDevice::Region> VfioDevice::GetRegion(uint32_t index) {
  if (const auto known = regions_.find(index); known != regions_.end()) return known->second;
  uapi::vfio_region_info info = {};
  info.argsz = sizeof(info);
  info.index = index;
  const absl::StatusOr<int> answer = file_.Ioctl({.operation = "VFIO_DEVICE_GET_REGION_INFO",
                                                  .request = uapi::VFIO_DEVICE_GET_REGION_INFO,
                                                  .argument = AddressOf(info),
                                                  .on_signal = OnSignal::kRepeat,
                                                  .detail = absl::StrCat("region ", index)});
  // The kernel's answer to an index that the device does not have.
  if (absl::IsInvalidArgument(answer.status())) return Region{};
  if (!answer.ok()) return answer.status();
  return regions_[index] = {.size = info.size, .file_offset = info.offset};
}

absl::StatusOr<uint64_t> VfioDevice::RegionSize(uint32_t region) {
  ASSIGN_OR_RETURN(const Region found, GetRegion(region));
  return found.size;
}

absl::StatusOr<uint64_t> VfioDevice::FileOffset(uint32_t region, uint64_t offset, size_t size) {
  ASSIGN_OR_RETURN(const Region found, GetRegion(region));
  if (offset > found.size || size > found.size - offset) {
    return absl::OutOfRangeError(absl::StrCat(file_.object(), " region ", region, " has ",
                                              found.size, " bytes; ", size, " at ", offset,
                                              " are not inside"));
  }
  return found.file_offset + offset;
}

absl::StatusOr<size_t> VfioDevice::Moved(const char* operation, uint32_t region,
                                         ssize_t result) const {
  if (result >= 0) return static_cast<size_t>(result);
  return KernelErrorStatus(
      {operation, absl::StrCat(file_.object(), " region ", region), static_cast<int>(-result)});
}

absl::StatusOr<size_t> VfioDevice::Read(uint32_t region, uint64_t offset, void* buffer,
                                        size_t size) {
  ASSIGN_OR_RETURN(const uint64_t file_offset, FileOffset(region, offset, size));
  return Moved("pread", region, syscalls_.Pread(file_.fd(), buffer, size, file_offset));
}

absl::StatusOr<size_t> VfioDevice::Write(uint32_t region, uint64_t offset, const void* buffer,
                                         size_t size) {
  ASSIGN_OR_RETURN(const uint64_t file_offset, FileOffset(region, offset, size));
  return Moved("pwrite", region, syscalls_.Pwrite(file_.fd(), buffer, size, file_offset));
}

absl::Status VfioDevice::Reset() {
  const absl::Status status =
      file_.Ioctl({.operation = "VFIO_DEVICE_RESET", .request = uapi::VFIO_DEVICE_RESET}).status();
  return status.ok() ? status : ResetFailure(status, /*unsupported=*/EINVAL);
}

}  // namespace nestor::agent
