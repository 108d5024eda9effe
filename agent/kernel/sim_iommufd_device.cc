#include "agent/kernel/sim_iommufd_device.h"

#include <cerrno>
#include <utility>

#include "agent/kernel/sim_hwpt.h"
#include "agent/kernel/sim_iommufd.h"
#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

// The HWPT that attachments to `ioas` share: 0 or -errno.
int FindAutomatic(SimIommufd& context, const std::shared_ptr<SimIoas>& ioas,
                  std::shared_ptr<SimHwpt>* hwpt) {
  for (const auto& [id, object] : context.objects()) {
    const auto paging = std::dynamic_pointer_cast<SimPagingHwpt>(object);
    if (paging == nullptr || !paging->is_automatic() || &paging->ioas() != ioas.get()) continue;
    *hwpt = paging;
    return 0;
  }
  std::shared_ptr<SimPagingHwpt> made;
  const int result = SimPagingHwpt::Create(context.system(), ioas, 0, /*is_automatic=*/true, &made);
  if (result != 0) return result;
  context.Add(made);
  *hwpt = made;
  return 0;
}

int FindHwpt(SimIommufd& context, uint32_t id, std::shared_ptr<SimHwpt>* hwpt) {
  const auto object = context.Get<SimIommufdObject>(id);
  if (object == nullptr) return -ENOENT;
  *hwpt = std::dynamic_pointer_cast<SimHwpt>(object);
  if (*hwpt != nullptr) return 0;
  const auto ioas = std::dynamic_pointer_cast<SimIoas>(object);
  return ioas == nullptr ? -EINVAL : FindAutomatic(context, ioas, hwpt);
}

}  // namespace

SimIommufdDevice::SimIommufdDevice(SimIommufd& context, int device)
    : context_(context),
      device_(device),
      group_(context.system().machine.devices[device].iommu_group) {}

template <typename Change>
int SimIommufdDevice::ChangeTo(uint32_t* pt_id, Change change) {
  std::shared_ptr<SimHwpt> hwpt;
  int result = FindHwpt(context_, *pt_id, &hwpt);
  if (result != 0) return result;
  result = change(hwpt);
  if (result == 0) *pt_id = hwpt->id();
  Release(std::move(hwpt));
  return result;
}

int SimIommufdDevice::Attach(uint32_t pasid, uint32_t* pt_id) {
  return ChangeTo(pt_id, [&](const std::shared_ptr<SimHwpt>& hwpt) {
    return context_.attachments().Attach(*this, pasid, hwpt);
  });
}

int SimIommufdDevice::Replace(uint32_t pasid, uint32_t* pt_id) {
  std::shared_ptr<SimHwpt> old_hwpt = context_.attachments().Of(*this, pasid);
  const int result = ChangeTo(pt_id, [&](const std::shared_ptr<SimHwpt>& hwpt) {
    return context_.attachments().Replace(*this, pasid, hwpt);
  });
  if (old_hwpt != nullptr) Release(std::move(old_hwpt));
  return result;
}

void SimIommufdDevice::Detach(uint32_t pasid) {
  std::shared_ptr<SimHwpt> hwpt = context_.attachments().Detach(*this, pasid);
  if (hwpt != nullptr) Release(std::move(hwpt));
}

void SimIommufdDevice::Release(std::shared_ptr<SimHwpt> hwpt) {
  const auto* paging = dynamic_cast<const SimPagingHwpt*>(hwpt.get());
  if (paging == nullptr || !paging->is_automatic()) return;
  const uint32_t id = hwpt->id();
  hwpt.reset();
  (void)context_.Destroy(id);  // -EBUSY: others use it still
}

}  // namespace nestor::kernel
