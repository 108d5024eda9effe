#include "agent/vfio/binding_validation.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "agent/core/kernel_error.h"

namespace nestor::agent {
namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint32_t kFourLevelWidth = 48;
constexpr uint32_t kFiveLevelWidth = 57;

absl::Status Invalid(absl::string_view reason, absl::string_view message) {
  return WithReason(absl::InvalidArgumentError(message), reason);
}

absl::Status ValidateRoot(uint64_t root, uint32_t address_width) {
  if (root % kPageSize != 0) {
    return Invalid("FIELD_INVALID",
                   absl::StrCat("root 0x", absl::Hex(root), " is not 4 KiB aligned"));
  }
  if (address_width < 64 && (root >> address_width) != 0) {
    return Invalid("FIELD_INVALID", absl::StrCat("root 0x", absl::Hex(root), " is beyond the ",
                                                 address_width, " bits of guest addresses"));
  }
  return absl::OkStatus();
}

absl::Status ValidateWidth(uint32_t width, bool five_level) {
  if (width != kFourLevelWidth && width != kFiveLevelWidth) {
    return Invalid("FIELD_INVALID",
                   absl::StrCat("address width ", width, " is neither 48 nor 57 bits"));
  }
  if (width == kFiveLevelWidth && !five_level) {
    return Invalid("DEVICE_UNSUITABLE",
                   "this host's processors or IOMMU do not walk five-level page tables");
  }
  return absl::OkStatus();
}

absl::Status ValidateFlags(const PageTable& table, const DeviceCapabilities& capabilities) {
  if (table.supervisor_request && !capabilities.supervisor_request) {
    return Invalid("DEVICE_UNSUITABLE", "this host's IOMMU takes no supervisor requests");
  }
  if (table.extended_access_flag && !capabilities.extended_access_flag) {
    return Invalid("DEVICE_UNSUITABLE", "this host's IOMMU has no extended access flag");
  }
  return absl::OkStatus();
}

absl::Status Unsupported(absl::string_view message) {
  return WithReason(absl::UnimplementedError(message), "UNSUPPORTED");
}

absl::Status ValidateGranularity(const BindingKey& key, const DeviceCapabilities& capabilities) {
  if (key.pasid == 0 && !capabilities.binds_device) {
    return Unsupported(absl::StrCat("type1 binds PASIDs of ", key.device,
                                    ", not the device itself: give a PASID from 1"));
  }
  if (key.pasid != 0 && capabilities.granularity != NestGranularity::kPasid) {
    return Unsupported(
        absl::StrCat(key.device, " is bound as a whole here, not by PASID: ask for `rid`",
                     capabilities.message.empty() ? "" : "; ", capabilities.message));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidatePasid(uint32_t pasid, const DeviceCapabilities& capabilities) {
  if (pasid != 0 && (uint64_t{pasid} >> capabilities.pasid_bits) == 0) return absl::OkStatus();
  return Invalid("FIELD_INVALID", absl::StrCat("PASID ", pasid, " is not in 1 .. 2^",
                                               capabilities.pasid_bits, " - 1"));
}

absl::Status ValidateBinding(const BindingKey& key, const PageTable& table,
                             const DeviceCapabilities& capabilities) {
  absl::Status status = ValidateGranularity(key, capabilities);
  if (!status.ok()) return status;
  if (table.format != capabilities.format) {
    return Invalid("FORMAT_UNSUPPORTED", absl::StrCat("the IOMMU of ", key.device,
                                                      " walks page tables of another format"));
  }
  if (key.pasid != 0) status = ValidatePasid(key.pasid, capabilities);
  if (status.ok()) status = ValidateRoot(table.root, capabilities.address_width);
  if (status.ok()) status = ValidateWidth(table.address_width, capabilities.five_level);
  if (status.ok()) status = ValidateFlags(table, capabilities);
  return status;
}

absl::Status ValidateRootInMemory(const PageTable& table, const std::set<MemoryRegion>& memory) {
  for (const MemoryRegion& region : memory) {
    if (table.root >= region.guest_address && table.root - region.guest_address < region.size) {
      return absl::OkStatus();
    }
  }
  return Invalid("FIELD_INVALID", absl::StrCat("root 0x", absl::Hex(table.root),
                                               " is in no memory that the guest has"));
}

}  // namespace nestor::agent
