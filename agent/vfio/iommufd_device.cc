#include "agent/vfio/iommufd_device.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/vfio_cdev.h"
#include "agent/vfio/explained_open.h"
#include "agent/vfio/refusal.h"
#include "agent/vfio/vfio_file.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

namespace uapi = kernel::uapi;

std::string Describe(uint32_t pasid, IommufdId table) {
  return pasid == 0 ? absl::StrCat("rid to ", table) : absl::StrCat("pasid ", pasid, " to ", table);
}

// A PASID of 0 with the flag of PASIDs would mean the device itself, and kernels before 6.15
// refuse structs with one: without a PASID the struct ends before it.
class VfioDeviceNode final : public IommufdDevice {
 public:
  VfioDeviceNode(kernel::Syscalls& syscalls, VfioFile file) : vfio_(syscalls, std::move(file)) {}

  absl::StatusOr<IommufdId> Bind(int iommufd) override {
    uapi::vfio_device_bind_iommufd bind = {};
    bind.argsz = sizeof(bind);
    bind.iommufd = iommufd;
    RETURN_IF_ERROR(vfio_.file()
                        .Ioctl({.operation = "VFIO_DEVICE_BIND_IOMMUFD",
                                .request = uapi::VFIO_DEVICE_BIND_IOMMUFD,
                                .argument = AddressOf(bind)})
                        .status());
    return bind.out_devid;
  }

  absl::Status Attach(uint32_t pasid, IommufdId table) override {
    uapi::vfio_device_attach_iommufd_pt attach = {};
    attach.argsz = pasid == 0 ? uapi::VFIO_DEVICE_ATTACH_MIN_SIZE : sizeof(attach);
    attach.flags = pasid == 0 ? 0 : uapi::VFIO_DEVICE_ATTACH_PASID;
    attach.pt_id = table;
    attach.pasid = pasid;
    return vfio_.file()
        .Ioctl({.operation = "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
                .request = uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT,
                .argument = AddressOf(attach),
                .detail = Describe(pasid, table)})
        .status();
  }

  absl::Status Detach(uint32_t pasid) override {
    uapi::vfio_device_detach_iommufd_pt detach = {};
    detach.argsz = pasid == 0 ? uapi::VFIO_DEVICE_DETACH_MIN_SIZE : sizeof(detach);
    detach.flags = pasid == 0 ? 0 : uapi::VFIO_DEVICE_DETACH_PASID;
    detach.pasid = pasid;
    return vfio_.file()
        .Ioctl({.operation = "VFIO_DEVICE_DETACH_IOMMUFD_PT",
                .request = uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT,
                .argument = AddressOf(detach),
                .on_signal = OnSignal::kRepeat,
                .detail = pasid == 0 ? "rid" : absl::StrCat("pasid ", pasid)})
        .status();
  }

  VfioDevice& vfio() override { return vfio_; }

 private:
  VfioDevice vfio_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<IommufdDevice>> OpenVfioDeviceNode(kernel::Syscalls& syscalls,
                                                                  const Bdf& device) {
  std::vector<std::string> names;
  const std::string directory = absl::StrCat("/sys/bus/pci/devices/", device, "/vfio-dev");
  if (syscalls.Readdir(directory, &names) < 0 || names.size() != 1) {
    return NoIommufd(absl::StrCat("VFIO shows no device file of ", device, " in ", directory));
  }
  ASSIGN_OR_RETURN(VfioFile file, OpenNode(syscalls, absl::StrCat("/dev/vfio/devices/", names[0]),
                                           device, NoIommufd));
  return std::make_unique<VfioDeviceNode>(syscalls, std::move(file));
}

}  // namespace nestor::agent
