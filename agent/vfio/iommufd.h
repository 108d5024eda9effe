// The calls on /dev/iommu, typed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/vfio/vfio_file.h"

namespace nestor::agent {

// The name of an object inside one iommufd; the kernel gives none the number 0.
using IommufdId = uint32_t;

// What IOMMU_GET_HW_INFO says of the IOMMU in front of a device.
struct IommufdHardware {
  uint32_t type = 0;  // IOMMU_HW_INFO_TYPE_*; 0: its driver says nothing
  // Of the device and its path; 0: none may be attached, whatever an attach answers.
  uint32_t pasid_bits = 0;
  // The struct of `type`, zeros behind what the kernel wrote.
  std::vector<uint8_t> data;
};

// What a page table is made of.
struct HwptRequest {
  uint32_t flags = 0;  // IOMMU_HWPT_ALLOC_*
  IommufdId device = 0;
  IommufdId parent = 0;            // an IOAS, a nest parent or a vIOMMU
  uint32_t data_type = 0;          // IOMMU_HWPT_DATA_*
  std::vector<uint8_t> data = {};  // the struct of `data_type`
};

// Invalidations, of one size each.
struct InvalidationRequest {
  IommufdId target = 0;  // a nested page table or a vIOMMU
  uint32_t data_type = 0;
  std::vector<uint8_t> entry = {};  // one; empty: none, which asks whether `data_type` is known
};

// One open /dev/iommu, which is one virtual machine's: whoever holds it may use every id in
// it. Calls change nothing where they fail, and errors are the kernel's, with operation and
// object. Not thread-safe; at one place in memory as long as objects of it live.
class Iommufd {
 public:
  // Of an open /dev/iommu on which no call was made yet.
  explicit Iommufd(VfioFile file);
  Iommufd(const Iommufd&) = delete;
  Iommufd& operator=(const Iommufd&) = delete;

  int fd() const { return file_.fd(); }

  absl::StatusOr<IommufdHardware> GetHardware(IommufdId device) const;

  absl::StatusOr<IommufdId> AllocateIoas() const;
  absl::Status Map(IommufdId ioas, const MemoryRegion& region) const;
  // Bytes that were unmapped. Mappings are never split: part of one is NOT_FOUND.
  absl::StatusOr<uint64_t> Unmap(IommufdId ioas, const MemoryRegion& region) const;
  // Bits of the guest addresses that it takes, which its page tables limit.
  absl::StatusOr<uint32_t> AddressWidth(IommufdId ioas) const;

  absl::StatusOr<IommufdId> AllocateHwpt(const HwptRequest& request) const;
  absl::Status Invalidate(const InvalidationRequest& request) const;

  // UNIMPLEMENTED: this kernel has no vIOMMUs, or not of that type.
  absl::StatusOr<IommufdId> AllocateViommu(uint32_t type, IommufdId device, IommufdId parent) const;
  absl::StatusOr<IommufdId> AllocateVdevice(IommufdId viommu, IommufdId device,
                                            uint64_t virtual_id) const;
  // Whether the kernel has IOMMU_VIOMMU_ALLOC; makes nothing.
  bool HasViommus() const;

  // Destroys an object. One that the kernel still needs is tried again after the ones that
  // are released later, and goes with the descriptor at the latest.
  void Release(IommufdId id);

 private:
  // A call that may be made twice, or not.
  absl::Status Call(const char* operation, uint64_t request, uint64_t argument, OnSignal on_signal,
                    std::string detail) const;

  VfioFile file_;
  std::vector<IommufdId> released_;  // and not yet destroyed
};

// Owns an object of an iommufd, which must outlive it. Move-only.
class IommufdObject {
 public:
  IommufdObject() = default;
  IommufdObject(Iommufd& iommufd, IommufdId id) : iommufd_(&iommufd), id_(id) {}
  IommufdObject(IommufdObject&& other) noexcept { *this = std::move(other); }
  IommufdObject& operator=(IommufdObject&& other) noexcept {
    std::swap(iommufd_, other.iommufd_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~IommufdObject() {
    if (id_ != 0) iommufd_->Release(id_);
  }

  IommufdId id() const { return id_; }  // 0: none

 private:
  Iommufd* iommufd_ = nullptr;
  IommufdId id_ = 0;
};

}  // namespace nestor::agent
