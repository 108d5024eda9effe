#include "agent/local/dma_test.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "agent/kernel/dma_engine_registers.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

constexpr uint32_t kBar0 = 0;

absl::StatusOr<uint64_t> ReadRegister(Shim& shim, const Bdf& device, uint64_t offset) {
  uint64_t value = 0;
  ASSIGN_OR_RETURN(const std::string bytes, shim.ReadRegion(device, kBar0, offset, sizeof(value)));
  if (bytes.size() != sizeof(value)) return absl::DataLossError("a register was read in part");
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

absl::Status WriteRegister(Shim& shim, const Bdf& device, uint64_t offset, uint64_t value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return shim.WriteRegion(device, kBar0, offset, bytes);
}

absl::Status StartRead(Shim& shim, const v1::DmaTestRequest& request) {
  const Bdf& device = request.device();
  const uint64_t tag = request.pasid() == 0 ? 0 : kernel::kSimPasidValid | request.pasid();
  RETURN_IF_ERROR(WriteRegister(shim, device, kernel::kSimRegisterPasid, tag));
  RETURN_IF_ERROR(WriteRegister(shim, device, kernel::kSimRegisterAddress, request.address()));
  RETURN_IF_ERROR(WriteRegister(shim, device, kernel::kSimRegisterLength, request.size()));
  return WriteRegister(shim, device, kernel::kSimRegisterCommand, kernel::kSimCommandRead);
}

absl::StatusOr<v1::DmaTestFault> ReadFault(Shim& shim, const Bdf& device) {
  v1::DmaTestFault fault;
  ASSIGN_OR_RETURN(const uint64_t address,
                   ReadRegister(shim, device, kernel::kSimRegisterFaultAddress));
  ASSIGN_OR_RETURN(const uint64_t reason,
                   ReadRegister(shim, device, kernel::kSimRegisterFaultReason));
  fault.set_address(address);
  fault.set_reason(static_cast<uint32_t>(reason));
  fault.set_reason_name(kernel::FaultReasonName(fault.reason()));
  return fault;
}

}  // namespace

absl::StatusOr<v1::DmaTestResponse> RunDmaTest(Shim& shim, const v1::DmaTestRequest& request) {
  const Bdf& device = request.device();
  ASSIGN_OR_RETURN(const uint64_t identification,
                   ReadRegister(shim, device, kernel::kSimRegisterIdentification));
  if (identification != kernel::kSimDeviceIdentification) return errors::NotSimulated();
  RETURN_IF_ERROR(StartRead(shim, request));
  // The device is done when the write of the command returns.
  ASSIGN_OR_RETURN(const uint64_t status, ReadRegister(shim, device, kernel::kSimRegisterStatus));
  v1::DmaTestResponse response;
  if (status == kernel::kSimStatusFault) {
    ASSIGN_OR_RETURN(*response.mutable_fault(), ReadFault(shim, device));
    return response;
  }
  if (status != kernel::kSimStatusDone) {
    return absl::InternalError(absl::StrCat("the device has status ", status));
  }
  ASSIGN_OR_RETURN(*response.mutable_data(),
                   shim.ReadRegion(device, kBar0, kernel::kSimDeviceBuffer, request.size()));
  return response;
}

}  // namespace nestor::agent
