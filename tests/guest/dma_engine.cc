#include "tests/guest/dma_engine.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "agent/kernel/dma_engine_registers.h"
#include "api/support/status_macros.h"

namespace nestor::guest {
namespace {

constexpr uint32_t kBar0 = 0;

std::string LittleEndian(uint64_t value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

}  // namespace

absl::StatusOr<DmaResult> DmaEngine::Read(std::optional<uint32_t> pasid, uint64_t address,
                                          uint32_t size) {
  RETURN_IF_ERROR(CheckDevice(size));
  DmaResult result;
  ASSIGN_OR_RETURN(result.fault, Run(kernel::kSimCommandRead, pasid, address, size));
  if (result.fault) return result;
  ASSIGN_OR_RETURN(result.data, client_.ReadRegion(kBar0, kernel::kSimDeviceBuffer, size));
  return result;
}

absl::StatusOr<DmaResult> DmaEngine::Write(std::optional<uint32_t> pasid, uint64_t address,
                                           absl::string_view data) {
  RETURN_IF_ERROR(CheckDevice(data.size()));
  RETURN_IF_ERROR(client_.PostRegionWrite(kBar0, kernel::kSimDeviceBuffer, data));
  DmaResult result;
  ASSIGN_OR_RETURN(result.fault, Run(kernel::kSimCommandWrite, pasid, address, data.size()));
  return result;
}

absl::Status DmaEngine::CheckDevice(uint64_t size) {
  if (size > kernel::kSimDeviceBufferSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("the device moves at most ", kernel::kSimDeviceBufferSize, " bytes"));
  }
  ASSIGN_OR_RETURN(const uint64_t identification, ReadRegister(kernel::kSimRegisterIdentification));
  if (identification == kernel::kSimDeviceIdentification) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "not the simulated device: it identifies itself as 0x", absl::Hex(identification)));
}

absl::StatusOr<std::optional<DmaFault>> DmaEngine::Run(uint64_t command,
                                                       std::optional<uint32_t> pasid,
                                                       uint64_t address, uint64_t size) {
  const uint64_t tag = pasid ? kernel::kSimPasidValid | *pasid : 0;
  RETURN_IF_ERROR(WriteRegister(kernel::kSimRegisterPasid, tag));
  RETURN_IF_ERROR(WriteRegister(kernel::kSimRegisterAddress, address));
  RETURN_IF_ERROR(WriteRegister(kernel::kSimRegisterLength, size));
  RETURN_IF_ERROR(WriteRegister(kernel::kSimRegisterCommand, command));
  // The read comes back after the writes before it, and the device is done by then.
  ASSIGN_OR_RETURN(const uint64_t status, ReadRegister(kernel::kSimRegisterStatus));
  if (status == kernel::kSimStatusDone) return std::nullopt;
  if (status != kernel::kSimStatusFault) {
    return absl::FailedPreconditionError(absl::StrCat("the device has status ", status));
  }
  DmaFault fault;
  ASSIGN_OR_RETURN(fault.address, ReadRegister(kernel::kSimRegisterFaultAddress));
  ASSIGN_OR_RETURN(const uint64_t reason, ReadRegister(kernel::kSimRegisterFaultReason));
  fault.reason = static_cast<uint32_t>(reason);
  return fault;
}

absl::StatusOr<uint64_t> DmaEngine::ReadRegister(uint64_t offset) {
  uint64_t value = 0;
  ASSIGN_OR_RETURN(const std::string bytes, client_.ReadRegion(kBar0, offset, sizeof(value)));
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

absl::Status DmaEngine::WriteRegister(uint64_t offset, uint64_t value) {
  return client_.PostRegionWrite(kBar0, offset, LittleEndian(value));
}

}  // namespace nestor::guest
