// What the devices of an iommufd are attached to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace nestor::kernel {

struct SimSystem;
class SimHwpt;
class SimIommufdDevice;

// By IOMMU group and PASID: the attachment is the whole group's, and each bound device of it
// joins or leaves. PASID 0 stands for requests without one. Results are 0 or -errno.
class SimAttachments {
 public:
  // `system` must outlive this.
  explicit SimAttachments(SimSystem& system) : system_(system) {}

  // Joins. -EBUSY: the device has joined already; -EINVAL: its group is attached to another
  // HWPT; a HWPT without IOMMU_HWPT_ALLOC_PASID where PASIDs are or come into play; a PASID that
  // the device has not; -EADDRINUSE: see SimIoas::AddDevice. The driver's: see SimHwpt.
  int Attach(const SimIommufdDevice& device, uint32_t pasid, const std::shared_ptr<SimHwpt>& hwpt);
  // Puts `hwpt` in the place of what the device has there. Where it fails late, in
  // SimHwpt::Program, the device translates no more although it counts as attached as before.
  int Replace(const SimIommufdDevice& device, uint32_t pasid, const std::shared_ptr<SimHwpt>& hwpt);
  // What it was attached to; null: it was not.
  std::shared_ptr<SimHwpt> Detach(const SimIommufdDevice& device, uint32_t pasid);
  // Null: it is attached to nothing.
  std::shared_ptr<SimHwpt> Of(const SimIommufdDevice& device, uint32_t pasid) const;

  // Calls `function(device index, pasid)` for each entry of the IOMMU that shows `hwpt`.
  template <typename Function>
  void ForEachEntryOf(const SimHwpt* hwpt, Function function) const {
    for (const auto& [key, attachment] : attachments_) {
      if (attachment.hwpt.get() != hwpt) continue;
      for (const int device : DevicesOf(key.first)) function(device, key.second);
    }
  }

 private:
  using Key = std::pair<int, uint32_t>;  // group, PASID
  struct Attachment {
    std::shared_ptr<SimHwpt> hwpt;
    std::set<const SimIommufdDevice*> devices;
  };

  const std::vector<int>& DevicesOf(int group) const;
  int CheckPasid(const Key& key, const SimHwpt& hwpt) const;
  // The same for all devices of the group: all or none.
  int Program(const Key& key, const SimHwpt& hwpt, const SimHwpt* old_hwpt);
  int ReplaceReserved(const Attachment& attachment, const SimHwpt& hwpt);

  SimSystem& system_;
  std::map<Key, Attachment> attachments_;  // each has a device
};

}  // namespace nestor::kernel
