#include "agent/vfio/type1_container.h"

#include <bit>
#include <cerrno>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "agent/vfio/type1_open.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

constexpr uint64_t kPageSize = 4096;

// 2^9 pages are 2 MiB, which any IOMMU with 2 MiB pages drops at once. How much more one
// takes (VT-d CAP_REG.MAMV) is not shown to user space.
constexpr int kMaxBlockOrder = 9;

// VFIO_IOMMU_NESTING_OP with its data, which the kernel expects right behind the header.
template <typename Data>
struct NestingOp {
  uapi::vfio_iommu_type1_nesting_op header = {};
  Data data = {};
};

template <typename Data>
NestingOp<Data> MakeNestingOp(uint32_t op) {
  static_assert(sizeof(NestingOp<Data>) ==
                sizeof(uapi::vfio_iommu_type1_nesting_op) + sizeof(Data));
  NestingOp<Data> request;
  request.header.argsz = sizeof(request);
  request.header.flags = op;
  request.data.argsz = sizeof(Data);
  request.data.version = 1;  // IOMMU_GPASID_BIND_VERSION_1 and its like
  return request;
}

// The guest's own number of the PASID is left out: only the device's is known here.
NestingOp<uapi::iommu_gpasid_bind_data> MakeBinding(uint32_t op, uint32_t pasid,
                                                    const PageTable& table) {
  auto request = MakeNestingOp<uapi::iommu_gpasid_bind_data>(op);
  request.data.format = uapi::IOMMU_PASID_FORMAT_INTEL_VTD;
  request.data.addr_width = table.address_width;
  request.data.gpgd = table.root;
  request.data.hpasid = pasid;
  request.data.vtd.flags = (table.supervisor_request ? uapi::IOMMU_SVA_VTD_GPASID_SRE : 0) |
                           (table.extended_access_flag ? uapi::IOMMU_SVA_VTD_GPASID_EAFE : 0);
  return request;
}

std::string DescribePasid(uint32_t pasid) { return absl::StrCat("pasid ", pasid); }

std::string DescribeBinding(uint32_t pasid, const PageTable& table) {
  return absl::StrCat("pasid ", pasid, " root 0x", absl::Hex(table.root));
}

std::string DescribeRange(uint64_t address, uint64_t size) {
  return absl::StrCat("0x", absl::Hex(address), " size 0x", absl::Hex(size));
}

}  // namespace

Type1Container::Type1Container(kernel::Syscalls& syscalls, const Bdf& device, VfioFile container,
                               VfioFile group, const DeviceCapabilities& capabilities)
    : syscalls_(syscalls),
      device_(device),
      container_(std::move(container)),
      group_(std::move(group)),
      capabilities_(capabilities) {}

absl::StatusOr<std::unique_ptr<Type1Container>> Type1Container::Open(kernel::Syscalls& syscalls,
                                                                     const Bdf& device) {
  ASSIGN_OR_RETURN(NestingGroup opened, OpenNestingGroup(syscalls, device));
  return absl::WrapUnique(new Type1Container(syscalls, device, std::move(opened.container),
                                             std::move(opened.group), opened.capabilities));
}

// What the calls answer does not matter: closing the group ends all that they would.
Type1Container::~Type1Container() {
  (void)group_.Ioctl({.operation = "VFIO_GROUP_UNSET_CONTAINER",
                      .request = uapi::VFIO_GROUP_UNSET_CONTAINER,
                      .on_signal = OnSignal::kRepeat});
}

absl::StatusOr<VfioDevice> Type1Container::OpenDevice() {
  ASSIGN_OR_RETURN(const int fd,
                   group_.Ioctl({.operation = "VFIO_GROUP_GET_DEVICE_FD",
                                 .request = uapi::VFIO_GROUP_GET_DEVICE_FD,
                                 .argument = reinterpret_cast<uint64_t>(device_.c_str())}));
  return VfioDevice(syscalls_, VfioFile(syscalls_, fd, device_));
}

// Never repeated: made twice it answers EEXIST.
absl::Status Type1Container::Map(const MemoryRegion& region) {
  uapi::vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.flags = uapi::VFIO_DMA_MAP_FLAG_READ | (region.writable ? uapi::VFIO_DMA_MAP_FLAG_WRITE : 0);
  map.vaddr = region.user_address;
  map.iova = region.guest_address;
  map.size = region.size;
  return container_
      .Ioctl({.operation = "VFIO_IOMMU_MAP_DMA",
              .request = uapi::VFIO_IOMMU_MAP_DMA,
              .argument = AddressOf(map),
              .detail = DescribeRange(region.guest_address, region.size)})
      .status();
}

// Never repeated: made twice it tells the second time that nothing was there.
absl::StatusOr<uint64_t> Type1Container::Unmap(const MemoryRegion& region) {
  uapi::vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = sizeof(unmap);
  unmap.iova = region.guest_address;
  unmap.size = region.size;
  RETURN_IF_ERROR(container_
                      .Ioctl({.operation = "VFIO_IOMMU_UNMAP_DMA",
                              .request = uapi::VFIO_IOMMU_UNMAP_DMA,
                              .argument = AddressOf(unmap),
                              .detail = DescribeRange(region.guest_address, region.size)})
                      .status());
  return unmap.size;
}

// Never repeated: made twice it reports the caller's own PASID as taken.
absl::Status Type1Container::AllocatePasid(uint32_t pasid) {
  uapi::vfio_iommu_type1_pasid_request request = {};
  request.argsz = sizeof(request);
  request.flags = uapi::VFIO_IOMMU_FLAG_ALLOC_PASID;
  request.range.min = pasid;
  request.range.max = pasid;
  const absl::StatusOr<int> given =
      container_.Ioctl({.operation = "VFIO_IOMMU_PASID_REQUEST(ALLOC)",
                        .request = uapi::VFIO_IOMMU_PASID_REQUEST,
                        .argument = AddressOf(request),
                        .detail = DescribePasid(pasid)});
  if (const auto error = GetKernelError(given.status()); error && error->error_number == ENOSPC) {
    return WithReason(given.status(), "PASID_TAKEN_ON_HOST");
  }
  if (!given.ok()) return given.status();
  if (static_cast<uint32_t>(*given) == pasid) return absl::OkStatus();
  (void)FreePasid(static_cast<uint32_t>(*given));
  return absl::InternalError(absl::StrCat("the kernel gave pasid ", *given, " for ", pasid));
}

// Repeated: once the PASID is free there is nothing left to free, which is success.
absl::Status Type1Container::FreePasid(uint32_t pasid) {
  uapi::vfio_iommu_type1_pasid_request request = {};
  request.argsz = sizeof(request);
  request.flags = uapi::VFIO_IOMMU_FLAG_FREE_PASID;
  request.range.min = pasid;
  request.range.max = pasid;
  return container_
      .Ioctl({.operation = "VFIO_IOMMU_PASID_REQUEST(FREE)",
              .request = uapi::VFIO_IOMMU_PASID_REQUEST,
              .argument = AddressOf(request),
              .on_signal = OnSignal::kRepeat,
              .detail = DescribePasid(pasid)})
      .status();
}

// Never repeated: a second bind of a PASID fails and drops the first.
absl::Status Type1Container::Bind(uint32_t pasid, const PageTable& table) {
  auto request = MakeBinding(uapi::VFIO_IOMMU_NESTING_OP_BIND_PGTBL, pasid, table);
  return container_
      .Ioctl({.operation = "VFIO_IOMMU_NESTING_OP(BIND_PGTBL)",
              .request = uapi::VFIO_IOMMU_NESTING_OP,
              .argument = AddressOf(request),
              .detail = DescribeBinding(pasid, table)})
      .status();
}

absl::Status Type1Container::Unbind(uint32_t pasid, const PageTable& table) {
  auto request = MakeBinding(uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL, pasid, table);
  return container_
      .Ioctl({.operation = "VFIO_IOMMU_NESTING_OP(UNBIND_PGTBL)",
              .request = uapi::VFIO_IOMMU_NESTING_OP,
              .argument = AddressOf(request),
              .on_signal = OnSignal::kRepeat,
              .detail = DescribeBinding(pasid, table)})
      .status();
}

// The IOTLB alone: VT-d drops the device's own cache together with it, and skips a request
// for that cache alone.
absl::Status Type1Container::Invalidate(uint32_t pasid) {
  auto request =
      MakeNestingOp<uapi::iommu_cache_invalidate_info>(uapi::VFIO_IOMMU_NESTING_OP_CACHE_INVLD);
  request.data.cache = uapi::IOMMU_CACHE_INV_TYPE_IOTLB;
  request.data.granularity = uapi::IOMMU_INV_GRANU_PASID;
  request.data.granu.pasid_info.flags = uapi::IOMMU_INV_PASID_FLAGS_PASID;
  request.data.granu.pasid_info.pasid = pasid;
  return container_
      .Ioctl({.operation = "VFIO_IOMMU_NESTING_OP(CACHE_INVLD)",
              .request = uapi::VFIO_IOMMU_NESTING_OP,
              .argument = AddressOf(request),
              .on_signal = OnSignal::kRepeat,
              .detail = DescribePasid(pasid)})
      .status();
}

// VT-d drops naturally aligned blocks of 2^n pages and ignores the address bits below, so
// the block sent is the smallest that contains the range. Without LEAF, since the caller
// does not say that only last-level entries changed.
absl::Status Type1Container::InvalidateRange(uint32_t pasid, uint64_t address, uint64_t size) {
  const uint64_t first_page = address / kPageSize;
  const uint64_t last_page = (address + (size - 1)) / kPageSize;
  const int order = std::bit_width(first_page ^ last_page);
  if (order > kMaxBlockOrder) return Invalidate(pasid);
  auto request =
      MakeNestingOp<uapi::iommu_cache_invalidate_info>(uapi::VFIO_IOMMU_NESTING_OP_CACHE_INVLD);
  request.data.cache = uapi::IOMMU_CACHE_INV_TYPE_IOTLB | uapi::IOMMU_CACHE_INV_TYPE_DEV_IOTLB;
  request.data.granularity = uapi::IOMMU_INV_GRANU_ADDR;
  request.data.granu.addr_info.flags = uapi::IOMMU_INV_ADDR_FLAGS_PASID;
  request.data.granu.addr_info.pasid = pasid;
  request.data.granu.addr_info.addr = (first_page >> order << order) * kPageSize;
  request.data.granu.addr_info.granule_size = kPageSize;
  request.data.granu.addr_info.nb_granules = uint64_t{1} << order;
  return container_
      .Ioctl({.operation = "VFIO_IOMMU_NESTING_OP(CACHE_INVLD)",
              .request = uapi::VFIO_IOMMU_NESTING_OP,
              .argument = AddressOf(request),
              .on_signal = OnSignal::kRepeat,
              .detail = absl::StrCat(DescribePasid(pasid), " ", DescribeRange(address, size))})
      .status();
}

}  // namespace nestor::agent
