#include "agent/vfio/iommufd.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/iommufd.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

// The struct of a kernel call with its size set and all else zero, so that a kernel which
// knows less of it takes it too.
template <typename Struct>
Struct MakeArgument() {
  Struct argument = {};
  argument.size = sizeof(argument);
  return argument;
}

uint64_t AddressOfData(const std::vector<uint8_t>& data) {
  return data.empty() ? 0 : reinterpret_cast<uint64_t>(data.data());
}

std::string DescribeRange(const MemoryRegion& region) {
  return absl::StrCat("0x", absl::Hex(region.guest_address), " size 0x", absl::Hex(region.size));
}

}  // namespace

// Memory is counted against this process rather than all of its user, so that one virtual
// machine's does not use up another's limit. Only the privileged may choose so, before
// anything else, and those who may not go on with the user's limit.
Iommufd::Iommufd(VfioFile file) : file_(std::move(file)) {
  auto option = MakeArgument<uapi::iommu_option>();
  option.option_id = uapi::IOMMU_OPTION_RLIMIT_MODE;
  option.op = uapi::IOMMU_OPTION_OP_SET;
  option.val64 = 1;
  (void)Call("IOMMU_OPTION(RLIMIT_MODE)", uapi::IOMMU_OPTION, AddressOf(option), OnSignal::kRepeat,
             "");
}

absl::Status Iommufd::Call(const char* operation, uint64_t request, uint64_t argument,
                           OnSignal on_signal, std::string detail) const {
  return file_
      .Ioctl({.operation = operation,
              .request = request,
              .argument = argument,
              .on_signal = on_signal,
              .detail = std::move(detail)})
      .status();
}

absl::StatusOr<IommufdHardware> Iommufd::GetHardware(IommufdId device) const {
  IommufdHardware hardware;
  hardware.data.resize(sizeof(uapi::iommu_hw_info_arm_smmuv3));  // the largest
  auto info = MakeArgument<uapi::iommu_hw_info>();
  info.dev_id = device;
  info.data_len = static_cast<uint32_t>(hardware.data.size());
  info.data_uptr = AddressOfData(hardware.data);
  RETURN_IF_ERROR(Call("IOMMU_GET_HW_INFO", uapi::IOMMU_GET_HW_INFO, AddressOf(info),
                       OnSignal::kRepeat, absl::StrCat("device ", device)));
  hardware.type = info.out_data_type;
  hardware.pasid_bits = info.out_max_pasid_log2;
  return hardware;
}

absl::StatusOr<IommufdId> Iommufd::AllocateIoas() const {
  auto ioas = MakeArgument<uapi::iommu_ioas_alloc>();
  RETURN_IF_ERROR(
      Call("IOMMU_IOAS_ALLOC", uapi::IOMMU_IOAS_ALLOC, AddressOf(ioas), OnSignal::kReturn, ""));
  return ioas.out_ioas_id;
}

// Never repeated: made twice it answers EEXIST.
absl::Status Iommufd::Map(IommufdId ioas, const MemoryRegion& region) const {
  auto map = MakeArgument<uapi::iommu_ioas_map>();
  map.flags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE |
              (region.writable ? uapi::IOMMU_IOAS_MAP_WRITEABLE : 0);
  map.ioas_id = ioas;
  map.user_va = region.user_address;
  map.length = region.size;
  map.iova = region.guest_address;
  return Call("IOMMU_IOAS_MAP", uapi::IOMMU_IOAS_MAP, AddressOf(map), OnSignal::kReturn,
              DescribeRange(region));
}

// Never repeated: made twice it tells the second time that nothing was there.
absl::StatusOr<uint64_t> Iommufd::Unmap(IommufdId ioas, const MemoryRegion& region) const {
  auto unmap = MakeArgument<uapi::iommu_ioas_unmap>();
  unmap.ioas_id = ioas;
  unmap.iova = region.guest_address;
  unmap.length = region.size;
  RETURN_IF_ERROR(Call("IOMMU_IOAS_UNMAP", uapi::IOMMU_IOAS_UNMAP, AddressOf(unmap),
                       OnSignal::kReturn, DescribeRange(region)));
  return unmap.length;
}

// The first call has no room for a range and so only counts them (EMSGSIZE).
absl::StatusOr<uint32_t> Iommufd::AddressWidth(IommufdId ioas) const {
  auto request = MakeArgument<uapi::iommu_ioas_iova_ranges>();
  request.ioas_id = ioas;
  (void)Call("IOMMU_IOAS_IOVA_RANGES", uapi::IOMMU_IOAS_IOVA_RANGES, AddressOf(request),
             OnSignal::kRepeat, "count");
  std::vector<uapi::iommu_iova_range> ranges(request.num_iovas);
  request.allowed_iovas = reinterpret_cast<uint64_t>(ranges.data());
  RETURN_IF_ERROR(Call("IOMMU_IOAS_IOVA_RANGES", uapi::IOMMU_IOAS_IOVA_RANGES, AddressOf(request),
                       OnSignal::kRepeat, ""));
  uint64_t last = 0;
  for (const uapi::iommu_iova_range& range : ranges) last = std::max(last, range.last);
  return static_cast<uint32_t>(std::bit_width(last));
}

absl::StatusOr<IommufdId> Iommufd::AllocateHwpt(const HwptRequest& request) const {
  auto hwpt = MakeArgument<uapi::iommu_hwpt_alloc>();
  hwpt.flags = request.flags;
  hwpt.dev_id = request.device;
  hwpt.pt_id = request.parent;
  hwpt.data_type = request.data_type;
  hwpt.data_len = static_cast<uint32_t>(request.data.size());
  hwpt.data_uptr = AddressOfData(request.data);
  RETURN_IF_ERROR(Call("IOMMU_HWPT_ALLOC", uapi::IOMMU_HWPT_ALLOC, AddressOf(hwpt),
                       OnSignal::kReturn,
                       absl::StrCat("on ", request.parent, " flags 0x", absl::Hex(request.flags),
                                    " data type ", request.data_type)));
  return hwpt.out_hwpt_id;
}

absl::Status Iommufd::Invalidate(const InvalidationRequest& request) const {
  auto invalidate = MakeArgument<uapi::iommu_hwpt_invalidate>();
  invalidate.hwpt_id = request.target;
  invalidate.data_uptr = AddressOfData(request.entry);
  invalidate.data_type = request.data_type;
  invalidate.entry_len = static_cast<uint32_t>(request.entry.size());
  invalidate.entry_num = request.entry.empty() ? 0 : 1;
  return Call("IOMMU_HWPT_INVALIDATE", uapi::IOMMU_HWPT_INVALIDATE, AddressOf(invalidate),
              OnSignal::kRepeat, absl::StrCat("of ", request.target));
}

absl::StatusOr<IommufdId> Iommufd::AllocateViommu(uint32_t type, IommufdId device,
                                                  IommufdId parent) const {
  auto viommu = MakeArgument<uapi::iommu_viommu_alloc>();
  viommu.type = type;
  viommu.dev_id = device;
  viommu.hwpt_id = parent;
  RETURN_IF_ERROR(Call("IOMMU_VIOMMU_ALLOC", uapi::IOMMU_VIOMMU_ALLOC, AddressOf(viommu),
                       OnSignal::kReturn, absl::StrCat("type ", type)));
  return viommu.out_viommu_id;
}

absl::StatusOr<IommufdId> Iommufd::AllocateVdevice(IommufdId viommu, IommufdId device,
                                                   uint64_t virtual_id) const {
  auto vdevice = MakeArgument<uapi::iommu_vdevice_alloc>();
  vdevice.viommu_id = viommu;
  vdevice.dev_id = device;
  vdevice.virt_id = virtual_id;
  RETURN_IF_ERROR(Call("IOMMU_VDEVICE_ALLOC", uapi::IOMMU_VDEVICE_ALLOC, AddressOf(vdevice),
                       OnSignal::kReturn, absl::StrCat("id 0x", absl::Hex(virtual_id))));
  return vdevice.out_vdevice_id;
}

// A struct too small, which a kernel that knows the call refuses before it looks further.
bool Iommufd::HasViommus() const {
  uapi::iommu_viommu_alloc too_small = {};
  too_small.size = sizeof(too_small.size);
  return absl::IsInvalidArgument(Call("IOMMU_VIOMMU_ALLOC", uapi::IOMMU_VIOMMU_ALLOC,
                                      AddressOf(too_small), OnSignal::kRepeat, "of no size"));
}

// Oldest first, since children are released before what they stand on. What is not there any
// more is destroyed: a signal may have hidden a success.
void Iommufd::Release(IommufdId id) {
  released_.push_back(id);
  std::erase_if(released_, [this](IommufdId released) {
    auto destroy = MakeArgument<uapi::iommu_destroy>();
    destroy.id = released;
    const absl::Status status = Call("IOMMU_DESTROY", uapi::IOMMU_DESTROY, AddressOf(destroy),
                                     OnSignal::kRepeat, absl::StrCat("object ", released));
    return status.ok() || absl::IsNotFound(status);
  });
}

}  // namespace nestor::agent
