#include "agent/vfio/type1_capability.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;
using Bytes = std::span<const uint8_t>;

// A copy of the struct at the start of `bytes`, if all of it is there.
template <typename Struct>
std::optional<Struct> ReadStruct(Bytes bytes) {
  if (bytes.size() < sizeof(Struct)) return std::nullopt;
  Struct value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

absl::Status BrokenChain(size_t offset) {
  return absl::DataLossError(
      absl::StrCat("the capability chain of VFIO_IOMMU_GET_INFO is broken at offset ", offset));
}

// The nesting information that follows the header of a capability with id 3, unless it is
// another capability. `body` ends where the next capability begins.
std::optional<NestingCapability> ReadNestingBody(Bytes body) {
  const auto info = ReadStruct<uapi::iommu_nesting_info>(body);
  if (!info || info->argsz < sizeof(*info) || info->argsz > body.size() || info->flags != 0 ||
      info->format == uapi::IOMMU_PASID_FORMAT_NONE) {
    return std::nullopt;
  }
  NestingCapability capability{.format = info->format,
                               .features = info->features,
                               .address_width = info->addr_width,
                               .pasid_bits = info->pasid_bits};
  if (info->format != uapi::IOMMU_PASID_FORMAT_INTEL_VTD) return capability;
  const auto vtd =
      ReadStruct<uapi::iommu_nesting_info_vtd>(body.first(info->argsz).subspan(sizeof(*info)));
  if (!vtd) return std::nullopt;
  capability.capability_register = vtd->cap_reg;
  capability.extended_capability_register = vtd->ecap_reg;
  return capability;
}

// Offset of the first capability; 0: there is none.
size_t FirstCapability(Bytes info) {
  const auto head = ReadStruct<uapi::vfio_iommu_type1_info>(info);
  return head && (head->flags & uapi::VFIO_IOMMU_INFO_CAPS) != 0 ? head->cap_offset : 0;
}

}  // namespace

absl::StatusOr<NestingCapability> ParseNestingCapability(Bytes info) {
  const auto argsz = ReadStruct<uint32_t>(info);
  info = info.first(std::min<size_t>(info.size(), argsz.value_or(0)));
  size_t end_of_previous = sizeof(uapi::vfio_iommu_type1_info);
  for (size_t offset = FirstCapability(info); offset != 0;) {
    if (offset < end_of_previous || offset > info.size()) return BrokenChain(offset);
    const auto header = ReadStruct<uapi::vfio_info_cap_header>(info.subspan(offset));
    if (!header) return BrokenChain(offset);
    end_of_previous = offset + sizeof(*header);
    const size_t end = header->next != 0 ? header->next : info.size();
    if (end < end_of_previous || end > info.size()) return BrokenChain(offset);
    if (header->id == uapi::VFIO_IOMMU_TYPE1_INFO_CAP_NESTING && header->version == 1) {
      const auto nesting = ReadNestingBody(info.subspan(end_of_previous, end - end_of_previous));
      if (nesting) return *nesting;
    }
    offset = header->next;
  }
  return absl::NotFoundError("VFIO_IOMMU_GET_INFO names no nesting capability");
}

}  // namespace nestor::agent
