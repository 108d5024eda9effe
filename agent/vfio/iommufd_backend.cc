#include "agent/vfio/iommufd_backend.h"

#include "agent/vfio/explained_open.h"
#include "agent/vfio/iommufd_address_space.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

absl::StatusOr<DeviceCapabilities> IommufdBackend::ProbeUnattached(const Bdf& device) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Iommufd> iommufd, OpenIommufd(syscalls_, device));
  ASSIGN_OR_RETURN(const std::unique_ptr<IommufdNest> nest,
                   OpenIommufdNest(syscalls_, seams_, *iommufd, device));
  return nest->capabilities();
}

absl::StatusOr<DeviceCapabilities> IommufdBackend::Probe(const Bdf& device) {
  if (const auto attached = attached_devices_.Find(device)) return *attached;
  return CapabilitiesOrRefusal(ProbeUnattached(device));
}

absl::StatusOr<std::unique_ptr<AddressSpace>> IommufdBackend::CreateAddressSpace() {
  return std::make_unique<IommufdAddressSpace>(syscalls_, seams_, attached_devices_);
}

}  // namespace nestor::agent
