#include "agent/kernel/ioctl_description.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kMaxArgument = 4096;
// argsz and flags, with which every sized struct of VFIO begins.
constexpr uint32_t kHeader = 8;

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
};

const Description* Find(unsigned long request) {  // NOLINT: kernel's type
  const auto* found = std::find_if(std::begin(kDescriptions), std::end(kDescriptions),
                                   [&](const Description& row) { return row.request == request; });
  return found == std::end(kDescriptions) ? nullptr : found;
}

// The 32-bit word at `offset` of what is at `address`.
uint32_t ReadWord(uint64_t address, size_t offset) {
  uint32_t word = 0;
  std::memcpy(&word, reinterpret_cast<const char*>(address) + offset, sizeof(word));
  return word;
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

std::string PasidOperation(uint32_t flags) {
  if (flags == uapi::VFIO_IOMMU_FLAG_ALLOC_PASID) return "(ALLOC)";
  if (flags == uapi::VFIO_IOMMU_FLAG_FREE_PASID) return "(FREE)";
  return absl::StrCat("(", flags, ")");
}

}  // namespace

std::string IoctlName(unsigned long request, uint64_t argument) {  // NOLINT: kernel's type
  const Description* found = Find(request);
  if (found == nullptr) return absl::StrCat("ioctl 0x", absl::Hex(request));
  if (found->argument == Argument::kValue) return absl::StrCat(found->name, "(", argument, ")");
  if (argument == 0) return found->name;
  if (request == uapi::VFIO_IOMMU_NESTING_OP) {
    return absl::StrCat(found->name, NestingOperation(ReadWord(argument, 4)));
  }
  if (request == uapi::VFIO_IOMMU_PASID_REQUEST) {
    return absl::StrCat(found->name, PasidOperation(ReadWord(argument, 4)));
  }
  return found->name;
}

std::string IoctlArgument(unsigned long request, uint64_t argument) {  // NOLINT: kernel's type
  const Description* found = Find(request);
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
