// IOMMU_VIOMMU_ALLOC and IOMMU_VDEVICE_ALLOC, check by check in the kernel's order.
#include <algorithm>
#include <cerrno>
#include <memory>

#include "agent/kernel/sim_iommufd_calls.h"
#include "agent/kernel/sim_iommufd_device.h"
#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_viommu.h"

namespace nestor::kernel {

int ViommuAlloc(SimIommufdCall& call, uapi::iommu_viommu_alloc* alloc) {
  const SimIommuProperties& iommu = call.context.system().machine.iommu;
  if (alloc->flags != 0 || alloc->type == uapi::IOMMU_VIOMMU_TYPE_DEFAULT) return -EOPNOTSUPP;
  if (call.context.Get<SimIommufdDevice>(alloc->dev_id) == nullptr) return -ENOENT;
  const bool offered = iommu.hardware == SimIommuHardware::kSmmuV3 && iommu.nesting &&
                       alloc->type == uapi::IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
  if (!offered) return -EOPNOTSUPP;
  const auto parent = call.context.Get<SimPagingHwpt>(alloc->hwpt_id);
  if (parent == nullptr) return -ENOENT;
  if (!parent->is_nest_parent()) return -EINVAL;
  alloc->out_viommu_id =
      call.context.Add(std::make_shared<SimViommu>(call.context.system(), parent));
  return 0;
}

int VdeviceAlloc(SimIommufdCall& call, uapi::iommu_vdevice_alloc* alloc) {
  const auto viommu = call.context.Get<SimViommu>(alloc->viommu_id);
  if (viommu == nullptr) return -ENOENT;
  const auto device = call.context.Get<SimIommufdDevice>(alloc->dev_id);
  if (device == nullptr) return -ENOENT;
  const bool has_one = std::any_of(
      call.context.objects().begin(), call.context.objects().end(), [&](const auto& entry) {
        const auto* other = dynamic_cast<const SimVdevice*>(entry.second.get());
        return other != nullptr && other->device() == device->device();
      });
  if (has_one || viommu->Find(alloc->virt_id) != nullptr) return -EEXIST;
  alloc->out_vdevice_id =
      call.context.Add(std::make_shared<SimVdevice>(viommu, device->device(), alloc->virt_id));
  return 0;
}

}  // namespace nestor::kernel
