// A device on its way into an iommufd: the calls that VFIO has for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/host_state.h"
#include "agent/kernel/syscalls.h"
#include "agent/vfio/iommufd.h"
#include "agent/vfio/vfio_device.h"

namespace nestor::agent {

// An open device. This is a seam: the kernel's own mock devices (CONFIG_IOMMUFD_TEST) are
// bound and attached by other calls than VFIO's, while all else that the iommufd backend does
// is the same for them. Destruction closes the device, which detaches all that is attached
// and unbinds it. Not thread-safe.
class IommufdDevice {
 public:
  virtual ~IommufdDevice() = default;

  // Gives the device to an iommufd, once; its id there.
  virtual absl::StatusOr<IommufdId> Bind(int iommufd) = 0;
  // Makes requests with that PASID, or with none where it is 0, walk a page table.
  //
  // On a PASID that is attached this replaces what was attached there, without a word. After
  // an error nobody can tell what the hardware walks: detach before anything else. The
  // caller checks the PASID against IommufdHardware::pasid_bits, since for a device without
  // PASIDs the kernel answers success and does nothing.
  virtual absl::Status Attach(uint32_t pasid, IommufdId table) = 0;
  // Requests are blocked afterwards. Success says nothing about what was attached before.
  virtual absl::Status Detach(uint32_t pasid) = 0;

  // Its regions and its reset; after Bind.
  virtual VfioDevice& vfio() = 0;
};

// Opens a device by its PCI address.
using OpenIommufdDevice =
    std::function<absl::StatusOr<std::unique_ptr<IommufdDevice>>(kernel::Syscalls&, const Bdf&)>;

// Opens its /dev/vfio/devices node, whose number /sys/bus/pci/devices/{bdf}/vfio-dev tells.
// Why not is told as agent/vfio/iommufd_backend.h lists it.
absl::StatusOr<std::unique_ptr<IommufdDevice>> OpenVfioDeviceNode(kernel::Syscalls& syscalls,
                                                                  const Bdf& device);

}  // namespace nestor::agent
