#include "agent/kernel/sim_vtd.h"

#include <bit>
#include <cerrno>

#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kPasidBits = 20;
constexpr uint64_t kPageSize = 4096;

int CheckOwner(const SimSystem& system, const SimPasidSet* pasids, uint64_t pasid) {
  const SimPasidSet* owner =
      pasid >> kPasidBits == 0 ? system.pasids.Owner(static_cast<uint32_t>(pasid)) : nullptr;
  if (owner == nullptr) return -ENOENT;
  return owner == pasids ? 0 : -EACCES;
}

// What can be said of the data and the device alone.
int CheckRequest(const SimDeviceDescription& device, const uapi::iommu_gpasid_bind_data& data) {
  if (data.format != uapi::IOMMU_PASID_FORMAT_INTEL_VTD || data.argsz < sizeof(data) ||
      data.vtd.flags >= uapi::IOMMU_SVA_VTD_GPASID_LAST) {
    return -EINVAL;
  }
  if (!device.pci) return -uapi::ENOTSUPP_INTERNAL;
  if (device.pasid_bits != kPasidBits) return -EINVAL;
  return data.hpasid == 0 || data.hpasid >> kPasidBits != 0 ? -EINVAL : 0;
}

bool HardwareCan(const SimIommuProperties& iommu, const SimStage2& stage2,
                 const uapi::iommu_gpasid_bind_data& data) {
  const bool five_levels = iommu.cpu_5_levels && iommu.first_level_5_levels;
  if (data.addr_width != 48 && !(data.addr_width == 57 && five_levels)) return false;
  if (data.gpgd > stage2.end()) return false;
  const uint64_t flags = data.vtd.flags;
  if ((flags & uapi::IOMMU_SVA_VTD_GPASID_SRE) != 0 && !iommu.supervisor_requests) return false;
  if ((flags & uapi::IOMMU_SVA_VTD_GPASID_EAFE) != 0 && !iommu.extended_accessed_flag) return false;
  return (flags & uapi::IOMMU_SVA_VTD_GPASID_MTS_MASK) == 0;
}

// The root's low bits are no part of the PASID table entry and so are lost without an error.
SimStage1 MakeStage1(const uapi::iommu_gpasid_bind_data& data) {
  return {.root = data.gpgd & ~(kPageSize - 1),
          .address_width = data.addr_width,
          .supervisor_request = (data.vtd.flags & uapi::IOMMU_SVA_VTD_GPASID_SRE) != 0,
          .extended_accessed_flag = (data.vtd.flags & uapi::IOMMU_SVA_VTD_GPASID_EAFE) != 0};
}

// The PASID that an invalidation is about; 0: it names none.
uint64_t PasidOf(const uapi::iommu_cache_invalidate_info& info) {
  const auto& by_pasid = info.granu.pasid_info;
  const auto& by_address = info.granu.addr_info;
  if (info.granularity == uapi::IOMMU_INV_GRANU_PASID) {
    return (by_pasid.flags & uapi::IOMMU_INV_PASID_FLAGS_PASID) != 0 ? by_pasid.pasid : 0;
  }
  return (by_address.flags & uapi::IOMMU_INV_ADDR_FLAGS_PASID) != 0 ? by_address.pasid : 0;
}

void FlushRange(SimIommu& iommu, int device, uint32_t pasid,
                const uapi::iommu_inv_addr_info& range) {
  const uint64_t pages = range.granule_size * range.nb_granules / kPageSize;
  const int order = pages <= 1 ? 0 : std::bit_width(pages - 1);
  const uint64_t mask = (kPageSize << order) - 1;
  iommu.FlushRange(device, pasid, range.addr & ~mask, range.addr | mask);
}

}  // namespace

int VtdBind(SimSystem& system, const SimPasidSet* pasids, const SimStage2& stage2, int device,
            const uapi::iommu_gpasid_bind_data& data) {
  if (const int result = CheckRequest(system.machine.devices[device], data); result != 0) {
    return result;
  }
  if (const int result = CheckOwner(system, pasids, data.hpasid); result != 0) return result;
  const auto pasid = static_cast<uint32_t>(data.hpasid);
  if (system.iommu.IsBound(device, pasid)) return -EBUSY;
  if (!HardwareCan(system.machine.iommu, stage2, data)) return -EINVAL;
  return system.iommu.Bind(device, pasid, MakeStage1(data));
}

int VtdUnbind(SimSystem& system, const SimPasidSet* pasids, int device, uint64_t pasid) {
  if (const int result = CheckOwner(system, pasids, pasid); result != 0) return result;
  system.iommu.Unbind(device, static_cast<uint32_t>(pasid));
  return 0;
}

int VtdInvalidate(SimSystem& system, const SimPasidSet* pasids, int device,
                  const uapi::iommu_cache_invalidate_info& info) {
  // The driver takes the caches in this order and stops at the first that it cannot do. The
  // devices here have no IOTLB of their own, so of the others nothing is to be done.
  if ((info.cache & uapi::IOMMU_CACHE_INV_TYPE_IOTLB) == 0 ||
      info.granularity == uapi::IOMMU_INV_GRANU_DOMAIN) {
    return 0;
  }
  const uint64_t pasid = PasidOf(info);
  if (const int result = CheckOwner(system, pasids, pasid); result != 0) return result;
  if (info.granularity == uapi::IOMMU_INV_GRANU_PASID) {
    system.iommu.FlushPasid(device, static_cast<uint32_t>(pasid));
  } else {
    FlushRange(system.iommu, device, static_cast<uint32_t>(pasid), info.granu.addr_info);
  }
  return 0;
}

}  // namespace nestor::kernel
