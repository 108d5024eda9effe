#include "tests/kernel/edu_device.h"

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "api/support/status_macros.h"

namespace nestor::kernel_test {
namespace {

namespace uapi = kernel::uapi;

// qemu's docs/specs/edu: registers in BAR 0.
constexpr uint64_t kIdentification = 0x00;
constexpr uint64_t kDmaSource = 0x80;
constexpr uint64_t kDmaDestination = 0x88;
constexpr uint64_t kDmaCount = 0x90;
constexpr uint64_t kDmaCommand = 0x98;
constexpr uint32_t kDmaStart = 1;
constexpr uint32_t kFromBuffer = 2;
// Where copies see the buffer.
constexpr uint64_t kBufferAddress = 0x40000;
// The low half of the identification; the high half is the version.
constexpr uint32_t kIsEdu = 0xed;

// Of PCI configuration space.
constexpr uint64_t kPciCommand = 0x04;
constexpr uint16_t kPciMemoryAndMaster = 0x06;

constexpr auto kCopyLimit = std::chrono::seconds(20);

}  // namespace

absl::StatusOr<EduDevice> EduDevice::Start(agent::VfioDevice device) {
  EduDevice edu(std::move(device));
  RETURN_IF_ERROR(edu.MasterBus());
  ASSIGN_OR_RETURN(const uint32_t identification, edu.Get(kIdentification));
  if ((identification & 0xffff) != kIsEdu) {
    return absl::FailedPreconditionError(
        absl::StrCat("no edu device: identification 0x", absl::Hex(identification)));
  }
  return edu;
}

absl::Status EduDevice::MasterBus() {
  uint16_t command = kPciMemoryAndMaster;
  return device_.Write(uapi::VFIO_PCI_CONFIG_REGION_INDEX, kPciCommand, &command, sizeof(command))
      .status();
}

absl::Status EduDevice::Fetch(uint64_t address, uint64_t size) {
  return Copy(address, kBufferAddress, size, 0);
}

absl::Status EduDevice::Store(uint64_t address, uint64_t size) {
  return Copy(kBufferAddress, address, size, kFromBuffer);
}

absl::StatusOr<uint32_t> EduDevice::Get(uint64_t offset) {
  uint32_t value = 0;
  RETURN_IF_ERROR(
      device_.Read(uapi::VFIO_PCI_BAR0_REGION_INDEX, offset, &value, sizeof(value)).status());
  return value;
}

absl::Status EduDevice::Set(uint64_t offset, uint32_t value) {
  return device_.Write(uapi::VFIO_PCI_BAR0_REGION_INDEX, offset, &value, sizeof(value)).status();
}

absl::Status EduDevice::Copy(uint64_t source, uint64_t destination, uint64_t size,
                             uint32_t direction) {
  RETURN_IF_ERROR(Set(kDmaSource, static_cast<uint32_t>(source)));
  RETURN_IF_ERROR(Set(kDmaDestination, static_cast<uint32_t>(destination)));
  RETURN_IF_ERROR(Set(kDmaCount, static_cast<uint32_t>(size)));
  RETURN_IF_ERROR(Set(kDmaCommand, kDmaStart | direction));
  const auto deadline = std::chrono::steady_clock::now() + kCopyLimit;
  while (std::chrono::steady_clock::now() < deadline) {
    ASSIGN_OR_RETURN(const uint32_t command, Get(kDmaCommand));
    if ((command & kDmaStart) == 0) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return absl::DeadlineExceededError("the edu device does not finish its copy");
}

}  // namespace nestor::kernel_test
