#include "agent/vfio/type1_backend.h"

#include "agent/vfio/explained_open.h"
#include "agent/vfio/type1_address_space.h"
#include "agent/vfio/type1_open.h"

namespace nestor::agent {

absl::StatusOr<DeviceCapabilities> Type1Backend::Probe(const Bdf& device) {
  if (const auto attached = attached_devices_.Find(device)) return *attached;
  const absl::StatusOr<NestingGroup> opened = OpenNestingGroup(syscalls_, device);
  if (opened.ok()) return opened->capabilities;
  return CapabilitiesOrRefusal(opened.status());
}

absl::StatusOr<std::unique_ptr<AddressSpace>> Type1Backend::CreateAddressSpace() {
  return std::make_unique<Type1AddressSpace>(syscalls_, attached_devices_);
}

}  // namespace nestor::agent
