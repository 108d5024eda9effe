#include "agent/vfio/iommufd_nest.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr uint32_t kDeviceItself = 0;
constexpr IommufdId kNothing = 0;

}  // namespace

IommufdNest::IommufdNest(Iommufd& iommufd, IommufdNestParts parts)
    : iommufd_(iommufd), parts_(std::move(parts)) {}

// What the calls answer does not matter: closing the device ends all that they would.
IommufdNest::~IommufdNest() {
  for (const auto& [pasid, table] : nested_) {
    if (pasid != kDeviceItself) (void)parts_.device->Detach(pasid);
  }
  if (in_stage2_) (void)parts_.device->Detach(kDeviceItself);
}

absl::Status IommufdNest::AttachToStage2() {
  RETURN_IF_ERROR(parts_.device->Attach(kDeviceItself, parts_.parent.id()));
  in_stage2_ = true;
  return absl::OkStatus();
}

absl::Status IommufdNest::Map(const MemoryRegion& region) {
  return iommufd_.Map(parts_.ioas.id(), region);
}

absl::StatusOr<uint64_t> IommufdNest::Unmap(const MemoryRegion& region) {
  return iommufd_.Unmap(parts_.ioas.id(), region);
}

absl::StatusOr<IommufdObject> IommufdNest::AllocateNested(const PageTable& table) {
  ASSIGN_OR_RETURN(const IommufdId id,
                   iommufd_.AllocateHwpt(
                       {.flags = parts_.pasid_flag,
                        .device = parts_.device_id,
                        .parent = parts_.viommu.id() != 0 ? parts_.viommu.id() : parts_.parent.id(),
                        .data_type = parts_.format.hwpt_data_type,
                        .data = parts_.format.encode(table)}));
  return IommufdObject(iommufd_, id);
}

// After a failed attach the kernel names the old table, but VT-d may have torn down its entry
// already; and to attach what is named is answered without looking. So the old table comes
// back by way of nothing.
absl::Status IommufdNest::Switch(uint32_t pasid, IommufdId to, IommufdId from) {
  absl::Status status = parts_.device->Attach(pasid, to);
  if (status.ok()) return status;
  if (!parts_.device->Detach(pasid).ok() || from == kNothing) return status;
  const absl::Status restored = parts_.device->Attach(pasid, from);
  if (restored.ok()) return status;
  return WithMessage(status, absl::StatusCode::kDataLoss,
                     absl::StrCat("the new page table was refused and the old one could not be "
                                  "attached again: ",
                                  status.message(), "; ", restored.message()));
}

absl::Status IommufdNest::Bind(uint32_t pasid, const PageTable& table) {
  ASSIGN_OR_RETURN(IommufdObject nested, AllocateNested(table));
  const IommufdId before = pasid == kDeviceItself ? parts_.parent.id() : kNothing;
  RETURN_IF_ERROR(Switch(pasid, nested.id(), before));
  nested_[pasid] = std::move(nested);
  return absl::OkStatus();
}

absl::Status IommufdNest::Replace(uint32_t pasid, const PageTable& table) {
  ASSIGN_OR_RETURN(IommufdObject nested, AllocateNested(table));
  const auto old = nested_.find(pasid);
  const absl::Status status = Switch(pasid, nested.id(), old->second.id());
  if (status.ok()) old->second = std::move(nested);
  if (absl::IsDataLoss(status)) nested_.erase(old);
  return status;
}

absl::Status IommufdNest::Unbind(uint32_t pasid) {
  const auto bound = nested_.find(pasid);
  const absl::Status status = pasid == kDeviceItself
                                  ? Switch(pasid, parts_.parent.id(), bound->second.id())
                                  : parts_.device->Detach(pasid);
  if (status.ok() || absl::IsDataLoss(status)) nested_.erase(bound);
  return status;
}

absl::Status IommufdNest::Invalidate(uint32_t pasid, uint64_t address, uint64_t size) {
  const IommufdId viommu = parts_.viommu.id();
  return iommufd_.Invalidate({.target = viommu != 0 ? viommu : nested_.at(pasid).id(),
                              .data_type = parts_.format.invalidation_data_type,
                              .entry = parts_.format.encode_invalidation(address, size)});
}

}  // namespace nestor::agent
