#include "agent/kernel/sim_device.h"

#include <algorithm>
#include <cstring>

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint32_t kPasidMask = 0xfffff;

// Offsets in configuration space (PCI Express Base Specification, chapter 7), and the places
// this device chose for its two capabilities.
constexpr uint64_t kVendorId = 0x00;
constexpr uint64_t kDeviceId = 0x02;
constexpr uint64_t kCommand = 0x04;
constexpr uint64_t kStatus = 0x06;
constexpr uint64_t kClassAndRevision = 0x08;
constexpr uint64_t kBar0 = 0x10;
constexpr uint64_t kSubsystemVendorId = 0x2c;
constexpr uint64_t kSubsystemId = 0x2e;
constexpr uint64_t kCapabilitiesPointer = 0x34;
constexpr uint64_t kInterruptLine = 0x3c;
constexpr uint64_t kExpressCapability = 0x40;
constexpr uint64_t kPasidCapability = 0x100;

bool IsWritableConfig(uint64_t offset) {
  const bool in_command = offset == kCommand || offset == kCommand + 1;
  // BAR 0 has 64 KiB, so its low 16 address bits are zero.
  const bool in_bar = offset == kBar0 + 2 || offset == kBar0 + 3;
  return in_command || in_bar || offset == kInterruptLine;
}

bool IsWritableBar(uint64_t offset) {
  return (offset >= kSimRegisterPasid && offset < kSimRegisterStatus) || offset >= kSimDeviceBuffer;
}

}  // namespace

SimDevice::SimDevice(const SimMachine& machine, int index, SimIommu& iommu)
    : description_(machine.devices[index]), index_(index), iommu_(iommu) {
  SetRegister(kSimRegisterIdentification, kSimDeviceIdentification);
  FillConfig();
}

void SimDevice::ReadBar(uint64_t offset, void* buffer, size_t size) const {
  std::memcpy(buffer, bar_.data() + offset, size);
}

void SimDevice::WriteBar(uint64_t offset, const void* buffer, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(buffer);
  for (size_t i = 0; i < size; ++i) {
    if (IsWritableBar(offset + i)) bar_[offset + i] = bytes[i];
  }
  if (offset <= kSimRegisterCommand && kSimRegisterCommand < offset + size) RunCommand();
}

void SimDevice::ReadConfig(uint64_t offset, void* buffer, size_t size) const {
  std::memcpy(buffer, config_.data() + offset, size);
}

void SimDevice::WriteConfig(uint64_t offset, const void* buffer, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(buffer);
  for (size_t i = 0; i < size; ++i) {
    if (IsWritableConfig(offset + i)) config_[offset + i] = bytes[i];
  }
}

void SimDevice::Reset() {
  const uint64_t dmas = dma_count();
  const uint64_t faults = fault_count();
  bar_.fill(0);
  SetRegister(kSimRegisterIdentification, kSimDeviceIdentification);
  SetRegister(kSimRegisterDmaCount, dmas);
  SetRegister(kSimRegisterFaultCount, faults);
  FillConfig();
}

uint64_t SimDevice::Register(uint64_t offset) const {
  uint64_t value = 0;
  std::memcpy(&value, bar_.data() + offset, sizeof(value));
  return value;
}

void SimDevice::SetRegister(uint64_t offset, uint64_t value) {
  std::memcpy(bar_.data() + offset, &value, sizeof(value));
}

void SimDevice::SetConfig(uint64_t offset, uint64_t value, size_t size) {
  std::memcpy(config_.data() + offset, &value, size);
}

void SimDevice::FillConfig() {
  config_.fill(0);
  SetConfig(kVendorId, description_.vendor_id, 2);
  SetConfig(kDeviceId, description_.device_id, 2);
  SetConfig(kStatus, 1 << 4, 2);  // has capabilities
  SetConfig(kClassAndRevision, uint64_t{description_.class_code} << 8 | 1, 4);
  SetConfig(kBar0, 0xe000'0000 + index_ * kSimDeviceBarSize, 4);  // 32-bit memory
  SetConfig(kSubsystemVendorId, description_.vendor_id, 2);
  SetConfig(kSubsystemId, description_.device_id, 2);
  SetConfig(kCapabilitiesPointer, kExpressCapability, 1);
  SetConfig(kExpressCapability, 0x0002'0010, 4);   // PCI Express, version 2, endpoint
  SetConfig(kExpressCapability + 4, 1u << 28, 4);  // function level reset
  if (description_.pasid_bits == 0) return;
  SetConfig(kPasidCapability, 0x0001'001b, 4);                                // PASID, version 1
  SetConfig(kPasidCapability + 4, description_.pasid_bits << 8 | 1 << 2, 2);  // and privileged
}

void SimDevice::RunCommand() {
  const uint64_t command = bar_[kSimRegisterCommand];
  if ((command != kSimCommandRead && command != kSimCommandWrite) ||
      Register(kSimRegisterLength) > kSimDeviceBufferSize) {
    SetRegister(kSimRegisterStatus, kSimStatusError);
    return;
  }
  const auto refused = Transfer(command);
  SetRegister(kSimRegisterStatus, refused ? kSimStatusFault : kSimStatusDone);
  SetRegister(kSimRegisterFaultAddress, refused.value_or(0));
  SetRegister(kSimRegisterFaultReason, refused ? iommu_.faults().back().reason : 0);
  const uint64_t counter = refused ? kSimRegisterFaultCount : kSimRegisterDmaCount;
  SetRegister(counter, Register(counter) + 1);
}

std::optional<uint64_t> SimDevice::Transfer(uint64_t command) {
  const uint64_t pasid = Register(kSimRegisterPasid);
  SimRequest request;
  if ((pasid & kSimPasidValid) != 0) request.pasid = pasid & kPasidMask;
  request.access.write = command == kSimCommandWrite;
  request.access.privileged = (pasid & kSimPasidPrivileged) != 0;
  request.address = Register(kSimRegisterAddress);
  uint8_t* buffer = bar_.data() + kSimDeviceBuffer;
  for (uint64_t left = Register(kSimRegisterLength); left > 0;) {
    const uint64_t size = std::min(left, kPageSize - request.address % kPageSize);
    if (!iommu_.Transfer(index_, request, buffer, size)) return request.address;
    request.address += size;
    buffer += size;
    left -= size;
  }
  return std::nullopt;
}

}  // namespace nestor::kernel
