#include "agent/reconcile/inventory_message.h"

#include "absl/strings/str_cat.h"

namespace nestor::agent {
namespace {

void FillFunction(const PciFunction& function, v1::DeviceStatus* status) {
  status->set_vendor_id(function.vendor_id);
  status->set_device_id(function.device_id);
  status->set_iommu_group(function.iommu_group);
  for (const Bdf& sibling : function.group_siblings) status->add_group_siblings(sibling);
  status->set_driver(function.driver);
  status->set_numa_node(function.numa_node);
  status->set_physical_function(function.physical_function);
  status->set_virtual_functions(function.virtual_functions);
}

void FillCapabilities(const DeviceCapabilities& capabilities, v1::DeviceStatus* status) {
  status->set_nest_granularity(static_cast<v1::NestGranularity>(capabilities.granularity));
  status->set_pasid_bits(capabilities.pasid_bits);
  status->set_address_width(capabilities.address_width);
  status->set_five_level(capabilities.five_level);
  status->set_reason(capabilities.reason);
  status->set_message(capabilities.message);
  if (capabilities.granularity != NestGranularity::kNone) {
    status->add_formats(static_cast<v1::PageTable::Format>(capabilities.format));
  }
}

}  // namespace

v1::IommuInterface ToIommuInterface(absl::string_view backend) {
  return backend == "type1" ? v1::IOMMU_INTERFACE_TYPE1 : v1::IOMMU_INTERFACE_IOMMUFD;
}

v1::DeviceStatus ToDeviceStatus(absl::string_view backend, const DeviceFacts& facts) {
  v1::DeviceStatus status;
  FillFunction(facts.function, &status);
  FillCapabilities(facts.capabilities, &status);
  status.set_iommu_interface(ToIommuInterface(backend));
  return status;
}

v1::Inventory ToInventoryMessage(const std::string& host, absl::string_view backend,
                                 const std::vector<DeviceFacts>& devices) {
  v1::Inventory inventory;
  for (const DeviceFacts& facts : devices) {
    v1::Device& device = *inventory.add_devices();
    device.set_name(absl::StrCat(host, "/devices/", facts.function.bdf));
    *device.mutable_status() = ToDeviceStatus(backend, facts);
  }
  return inventory;
}

}  // namespace nestor::agent
