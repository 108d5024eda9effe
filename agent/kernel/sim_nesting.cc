#include "agent/kernel/sim_nesting.h"

#include <cerrno>
#include <limits>

#include "agent/kernel/sim_nesting_data.h"
#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_vtd.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel {
namespace {

constexpr uint32_t kPasidFlags =
    uapi::VFIO_IOMMU_FLAG_ALLOC_PASID | uapi::VFIO_IOMMU_FLAG_FREE_PASID;

constexpr uint32_t kKnownOperations = uapi::VFIO_IOMMU_NESTING_OP_CACHE_INVLD + 1;

// The ioctl's result is an int, so a PASID above that could not be told from an error.
constexpr uint32_t kMaxBound = std::numeric_limits<int32_t>::max();

}  // namespace

bool SimNesting::Offers(uint32_t feature) const {
  return (system_.machine.iommu.nesting_features & feature) != 0;
}

int SimNesting::Bind(const UserMemory& memory, uint64_t data) {
  int result = 0;
  for (const int device : devices_) {
    result = BindOn(device, memory, data);
    if (result != 0) break;
  }
  if (result == 0) return 0;
  for (const int device : devices_) (void)UnbindOn(device, memory, data);
  return result;
}

int SimNesting::Unbind(const UserMemory& memory, uint64_t data) {
  for (const int device : devices_) (void)UnbindOn(device, memory, data);
  return 0;
}

int SimNesting::Invalidate(const UserMemory& memory, uint64_t info) {
  for (const int device : devices_) (void)InvalidateOn(device, memory, info);
  return 0;
}

int SimNesting::BindOn(int device, const UserMemory& memory, uint64_t data) {
  uapi::iommu_gpasid_bind_data copy;
  const int result = CopyBindData(memory, data, &copy);
  return result != 0 ? result : VtdBind(system_, pasids_.get(), stage2_, device, copy);
}

int SimNesting::UnbindOn(int device, const UserMemory& memory, uint64_t data) {
  uapi::iommu_gpasid_bind_data copy;
  const int result = CopyBindData(memory, data, &copy);
  return result != 0 ? result : VtdUnbind(system_, pasids_.get(), device, copy.hpasid);
}

int SimNesting::InvalidateOn(int device, const UserMemory& memory, uint64_t info) {
  uapi::iommu_cache_invalidate_info copy;
  const int result = CopyInvalidateInfo(memory, info, &copy);
  return result != 0 ? result : VtdInvalidate(system_, pasids_.get(), device, copy);
}

int PasidRequest(SimTask& task, uint64_t argument, SimNesting* nesting) {
  uapi::vfio_iommu_type1_pasid_request request;
  if (!task.memory().Read(argument, &request)) return -EFAULT;
  if (request.argsz < sizeof(request) || (request.flags & ~kPasidFlags) != 0) return -EINVAL;
  if (request.range.min > request.range.max || request.range.max > kMaxBound) return -EINVAL;
  if (nesting == nullptr || nesting->pasids() == nullptr) return -EOPNOTSUPP;
  switch (request.flags) {
    case uapi::VFIO_IOMMU_FLAG_ALLOC_PASID:
      return nesting->pasids()->Allocate(request.range.min, request.range.max);
    case uapi::VFIO_IOMMU_FLAG_FREE_PASID:
      nesting->pasids()->Free(request.range.min, request.range.max);
      return 0;
    default:
      return -EINVAL;
  }
}

int NestingOperation(SimTask& task, uint64_t argument, SimNesting* nesting) {
  uapi::vfio_iommu_type1_nesting_op header;
  if (!task.memory().Read(argument, &header)) return -EFAULT;
  if (header.argsz < sizeof(header) || (header.flags & ~uapi::VFIO_NESTING_OP_MASK) != 0) {
    return -EINVAL;
  }
  if (header.flags >= kKnownOperations) return -EINVAL;
  const bool invalidates = header.flags == uapi::VFIO_IOMMU_NESTING_OP_CACHE_INVLD;
  const uint32_t feature =
      invalidates ? uapi::IOMMU_NESTING_FEAT_CACHE_INVLD : uapi::IOMMU_NESTING_FEAT_BIND_PGTBL;
  if (nesting == nullptr || !nesting->Offers(feature)) return -EOPNOTSUPP;
  // How long the data is, only the data itself says; the header's size is not compared.
  const uint64_t data = argument + sizeof(header);
  if (invalidates) return nesting->Invalidate(task.memory(), data);
  if (nesting->pasids() == nullptr) return -EINVAL;
  return header.flags == uapi::VFIO_IOMMU_NESTING_OP_BIND_PGTBL
             ? nesting->Bind(task.memory(), data)
             : nesting->Unbind(task.memory(), data);
}

}  // namespace nestor::kernel
