#include "agent/kernel/sim_attachments.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent/kernel/sim_hwpt.h"
#include "agent/kernel/sim_iommufd_device.h"
#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

int ProgramOne(SimIommu& iommu, const SimHwpt& hwpt, int device, uint32_t pasid) {
  if (const int result = hwpt.Check(device, pasid); result != 0) return result;
  iommu.ClearEntry(device, pasid);
  return hwpt.Program(device, pasid);
}

}  // namespace

const std::vector<int>& SimAttachments::DevicesOf(int group) const {
  return system_.groups.at(group)->devices();
}

int SimAttachments::CheckPasid(const Key& key, const SimHwpt& hwpt) const {
  const auto& [group, pasid] = key;
  if (pasid == 0) {
    const auto next = attachments_.upper_bound(key);
    const bool has_pasids = next != attachments_.end() && next->first.first == group;
    return has_pasids && !hwpt.is_pasid_compatible() ? -EINVAL : 0;
  }
  if (!hwpt.is_pasid_compatible()) return -EINVAL;
  const auto rid = attachments_.find({group, 0});
  return rid != attachments_.end() && !rid->second.hwpt->is_pasid_compatible() ? -EINVAL : 0;
}

int SimAttachments::Program(const Key& key, const SimHwpt& hwpt, const SimHwpt* old_hwpt) {
  const auto& [group, pasid] = key;
  std::vector<int> done;
  for (const int device : DevicesOf(group)) {
    const uint32_t bits = PasidBits(system_.machine, device);
    if (pasid != 0 && bits > 0 && pasid >> bits != 0) return -EINVAL;
  }
  for (const int device : DevicesOf(group)) {
    // The core passes over a device without PASIDs, and says nothing.
    if (pasid != 0 && PasidBits(system_.machine, device) == 0) {
      if (const int result = hwpt.Check(device, pasid); result == -EOPNOTSUPP) return result;
      continue;
    }
    const int result = ProgramOne(system_.iommu, hwpt, device, pasid);
    if (result == 0) {
      done.push_back(device);
      continue;
    }
    for (const int other : done) {
      system_.iommu.ClearEntry(other, pasid);
      if (old_hwpt != nullptr) (void)old_hwpt->Program(other, pasid);
    }
    return result;
  }
  return 0;
}

int SimAttachments::Attach(const SimIommufdDevice& device, uint32_t pasid,
                           const std::shared_ptr<SimHwpt>& hwpt) {
  const Key key = {device.group(), pasid};
  const auto found = attachments_.find(key);
  if (found != attachments_.end()) {
    if (found->second.devices.contains(&device)) return -EBUSY;
    if (found->second.hwpt != hwpt) return -EINVAL;
  }
  if (pasid == 0) {
    if (const int result = hwpt->ioas().AddDevice(); result != 0) return result;
  }
  int result = CheckPasid(key, *hwpt);
  if (result == 0 && found == attachments_.end()) result = Program(key, *hwpt, nullptr);
  if (result != 0) {
    if (pasid == 0) hwpt->ioas().RemoveDevice();
    return result;
  }
  Attachment& attachment = attachments_[key];
  attachment.hwpt = hwpt;
  attachment.devices.insert(&device);
  ++system_.attachments;
  return 0;
}

int SimAttachments::ReplaceReserved(const Attachment& attachment, const SimHwpt& hwpt) {
  for (size_t device = 0; device < attachment.devices.size(); ++device) {
    const int result = hwpt.ioas().AddDevice();
    if (result == 0) continue;
    for (; device > 0; --device) hwpt.ioas().RemoveDevice();
    return result;
  }
  return 0;
}

int SimAttachments::Replace(const SimIommufdDevice& device, uint32_t pasid,
                            const std::shared_ptr<SimHwpt>& hwpt) {
  const Key key = {device.group(), pasid};
  const auto found = attachments_.find(key);
  if (found == attachments_.end() || !found->second.devices.contains(&device)) return -EINVAL;
  Attachment& attachment = found->second;
  if (attachment.hwpt == hwpt) return 0;
  if (const int result = CheckPasid(key, *hwpt); result != 0) return result;
  if (pasid == 0) {
    if (const int result = ReplaceReserved(attachment, *hwpt); result != 0) return result;
  }
  const int result = Program(key, *hwpt, attachment.hwpt.get());
  // The devices' windows are no longer reserved in the one that is left.
  SimIoas& left = result == 0 ? attachment.hwpt->ioas() : hwpt->ioas();
  if (pasid == 0) {
    for (size_t i = 0; i < attachment.devices.size(); ++i) left.RemoveDevice();
  }
  if (result == 0) attachment.hwpt = hwpt;
  return result;
}

std::shared_ptr<SimHwpt> SimAttachments::Detach(const SimIommufdDevice& device, uint32_t pasid) {
  const auto found = attachments_.find({device.group(), pasid});
  if (found == attachments_.end() || found->second.devices.erase(&device) == 0) return nullptr;
  --system_.attachments;
  std::shared_ptr<SimHwpt> hwpt = found->second.hwpt;
  if (pasid == 0) hwpt->ioas().RemoveDevice();
  if (!found->second.devices.empty()) return hwpt;
  for (const int member : DevicesOf(device.group())) system_.iommu.ClearEntry(member, pasid);
  attachments_.erase(found);
  return hwpt;
}

std::shared_ptr<SimHwpt> SimAttachments::Of(const SimIommufdDevice& device, uint32_t pasid) const {
  const auto found = attachments_.find({device.group(), pasid});
  if (found == attachments_.end() || !found->second.devices.contains(&device)) return nullptr;
  return found->second.hwpt;
}

}  // namespace nestor::kernel
