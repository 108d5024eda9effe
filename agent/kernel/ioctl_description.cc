#include "agent/kernel/ioctl_description.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kMaxArgument = 4096;
// argsz and flags, with which every sized struct of VFIO begins; of iommufd, size and a word.
constexpr uint32_t kHeader = 8;

using PtAttach = uapi::vfio_device_attach_iommufd_pt;
using PtDetach = uapi::vfio_device_detach_iommufd_pt;

enum class Argument { kNone, kValue, kInt32, kString, kSized };

struct Description {
  uint32_t request;
  const char* name;
  Argument argument;
};

constexpr Description kDescriptions[] = {
    {uapi::VFIO_GET_API_VERSION, "VFIO_GET_API_VERSION", Argument::kNone},
    {uapi::VFIO_CHECK_EXTENSION, "VFIO_CHECK_EXTENSION", Argument::kValue},
    {uapi::VFIO_SET_IOMMU, "VFIO_SET_IOMMU", Argument::kValue},
    {uapi::VFIO_GROUP_GET_STATUS, "VFIO_GROUP_GET_STATUS", Argument::kSized},
    {uapi::VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER", Argument::kInt32},
    {uapi::VFIO_GROUP_UNSET_CONTAINER, "VFIO_GROUP_UNSET_CONTAINER", Argument::kNone},
    {uapi::VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD", Argument::kString},
    {uapi::VFIO_DEVICE_GET_INFO, "VFIO_DEVICE_GET_INFO", Argument::kSized},
    {uapi::VFIO_DEVICE_GET_REGION_INFO, "VFIO_DEVICE_GET_REGION_INFO", Argument::kSized},
    {uapi::VFIO_DEVICE_GET_IRQ_INFO, "VFIO_DEVICE_GET_IRQ_INFO", Argument::kSized},
    {uapi::VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET", Argument::kNone},
    {uapi::VFIO_IOMMU_GET_INFO, "VFIO_IOMMU_GET_INFO", Argument::kSized},
    {uapi::VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA", Argument::kSized},
    {uapi::VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA", Argument::kSized},
    {uapi::VFIO_IOMMU_PASID_REQUEST, "VFIO_IOMMU_PASID_REQUEST", Argument::kSized},
    {uapi::VFIO_IOMMU_NESTING_OP, "VFIO_IOMMU_NESTING_OP", Argument::kSized},
    {uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT, "VFIO_DEVICE_DETACH_IOMMUFD_PT", Argument::kSized},
    {uapi::IOMMU_DESTROY, "IOMMU_DESTROY", Argument::kSized},
    {uapi::IOMMU_IOAS_ALLOC, "IOMMU_IOAS_ALLOC", Argument::kSized},
    {uapi::IOMMU_IOAS_ALLOW_IOVAS, "IOMMU_IOAS_ALLOW_IOVAS", Argument::kSized},
    {uapi::IOMMU_IOAS_COPY, "IOMMU_IOAS_COPY", Argument::kSized},
    {uapi::IOMMU_IOAS_IOVA_RANGES, "IOMMU_IOAS_IOVA_RANGES", Argument::kSized},
    {uapi::IOMMU_IOAS_MAP, "IOMMU_IOAS_MAP", Argument::kSized},
    {uapi::IOMMU_IOAS_UNMAP, "IOMMU_IOAS_UNMAP", Argument::kSized},
    {uapi::IOMMU_OPTION, "IOMMU_OPTION", Argument::kSized},
    {uapi::IOMMU_VFIO_IOAS, "IOMMU_VFIO_IOAS", Argument::kSized},
    {uapi::IOMMU_HWPT_ALLOC, "IOMMU_HWPT_ALLOC", Argument::kSized},
    {uapi::IOMMU_GET_HW_INFO, "IOMMU_GET_HW_INFO", Argument::kSized},
    {uapi::IOMMU_HWPT_INVALIDATE, "IOMMU_HWPT_INVALIDATE", Argument::kSized},
    {uapi::IOMMU_FAULT_QUEUE_ALLOC, "IOMMU_FAULT_QUEUE_ALLOC", Argument::kSized},
    {uapi::IOMMU_IOAS_MAP_FILE, "IOMMU_IOAS_MAP_FILE", Argument::kSized},
    {uapi::IOMMU_VIOMMU_ALLOC, "IOMMU_VIOMMU_ALLOC", Argument::kSized},
    {uapi::IOMMU_VDEVICE_ALLOC, "IOMMU_VDEVICE_ALLOC", Argument::kSized},
    {uapi::IOMMU_IOAS_CHANGE_PROCESS, "IOMMU_IOAS_CHANGE_PROCESS", Argument::kSized},
    {uapi::IOMMU_VEVENTQ_ALLOC, "IOMMU_VEVENTQ_ALLOC", Argument::kSized},
};

// Two numbers of the nesting series are also those of two requests on device files, whose
// structs tell them apart.
constexpr Description kBind = {uapi::VFIO_DEVICE_BIND_IOMMUFD, "VFIO_DEVICE_BIND_IOMMUFD",
                               Argument::kSized};
constexpr Description kAttach = {uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT,
                                 "VFIO_DEVICE_ATTACH_IOMMUFD_PT", Argument::kSized};

// The 32-bit word at `offset` of what is at `address`.
uint32_t ReadWord(uint64_t address, size_t offset) {
  uint32_t word = 0;
  std::memcpy(&word, reinterpret_cast<const char*>(address) + offset, sizeof(word));
  return word;
}

// A PASID request has a flag set and no more than its four words.
bool IsBind(uint64_t argument) {
  return ReadWord(argument, 0) >= sizeof(uapi::vfio_device_bind_iommufd) ||
         (ReadWord(argument, 0) == uapi::VFIO_DEVICE_BIND_MIN_SIZE && ReadWord(argument, 4) == 0);
}

// An operation that nests has its data behind it.
bool IsAttach(uint64_t argument) {
  const uint32_t size = ReadWord(argument, 0);
  return size >= uapi::VFIO_DEVICE_ATTACH_MIN_SIZE &&
         size <= sizeof(uapi::vfio_device_attach_iommufd_pt);
}

const Description* Find(unsigned long request, uint64_t argument) {  // NOLINT: kernel's type
  if (request == kBind.request && argument != 0 && IsBind(argument)) return &kBind;
  if (request == kAttach.request && argument != 0 && IsAttach(argument)) return &kAttach;
  const auto* found = std::find_if(std::begin(kDescriptions), std::end(kDescriptions),
                                   [&](const Description& row) { return row.request == request; });
  return found == std::end(kDescriptions) ? nullptr : found;
}

std::string NestingOperation(uint32_t flags) {
  switch (flags & uapi::VFIO_NESTING_OP_MASK) {
    case uapi::VFIO_IOMMU_NESTING_OP_BIND_PGTBL:
      return "(BIND_PGTBL)";
    case uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL:
      return "(UNBIND_PGTBL)";
    case uapi::VFIO_IOMMU_NESTING_OP_CACHE_INVLD:
      return "(CACHE_INVLD)";
    default:
      return absl::StrCat("(", flags, ")");
  }
}

// Of an attachment or a detachment: what of the device, by the struct's flags and a word at
// `offset`.
std::string PasidSuffix(uint64_t argument, size_t offset) {
  const bool has_pasid = (ReadWord(argument, 4) & uapi::VFIO_DEVICE_ATTACH_PASID) != 0 &&
                         ReadWord(argument, 0) >= offset + sizeof(uint32_t);
  return has_pasid ? absl::StrCat("(PASID ", ReadWord(argument, offset), ")") : "";
}

std::string PasidOperation(uint32_t flags) {
  if (flags == uapi::VFIO_IOMMU_FLAG_ALLOC_PASID) return "(ALLOC)";
  if (flags == uapi::VFIO_IOMMU_FLAG_FREE_PASID) return "(FREE)";
  return absl::StrCat("(", flags, ")");
}

}  // namespace

std::string IoctlName(unsigned long request, uint64_t argument) {  // NOLINT: kernel's type
  const Description* found = Find(request, argument);
  if (found == nullptr) return absl::StrCat("ioctl 0x", absl::Hex(request));
  if (found->argument == Argument::kValue) return absl::StrCat(found->name, "(", argument, ")");
  if (argument == 0) return found->name;
  if (found == &kBind) return found->name;
  if (found == &kAttach) {
    return absl::StrCat(found->name, PasidSuffix(argument, offsetof(PtAttach, pasid)));
  }
  if (request == uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT) {
    return absl::StrCat(found->name, PasidSuffix(argument, offsetof(PtDetach, pasid)));
  }
  if (request == uapi::VFIO_IOMMU_NESTING_OP) {
    return absl::StrCat(found->name, NestingOperation(ReadWord(argument, 4)));
  }
  if (request == uapi::VFIO_IOMMU_PASID_REQUEST) {
    return absl::StrCat(found->name, PasidOperation(ReadWord(argument, 4)));
  }
  return found->name;
}

std::string IoctlArgument(unsigned long request, uint64_t argument) {  // NOLINT: kernel's type
  const Description* found = Find(request, argument);
  if (found == nullptr || argument == 0) return "";
  const auto* bytes = reinterpret_cast<const char*>(argument);
  switch (found->argument) {
    case Argument::kInt32:
      return {bytes, sizeof(int32_t)};
    case Argument::kString:
      return {bytes, strnlen(bytes, kMaxArgument)};
    case Argument::kSized:
      return {bytes, std::clamp(ReadWord(argument, 0), kHeader, kMaxArgument)};
    default:
      return "";
  }
}

}  // namespace nestor::kernel
