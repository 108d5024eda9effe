// The registers of the simulated PCI device: what its driver knows.
#pragma once

#include <cstdint>
#include <string>

namespace nestor::kernel {

// BAR 0 has 64 KiB: registers of 8 bytes each, little endian, that may be written whole or
// in parts, and from kSimDeviceBuffer a buffer of 32 KiB. The engine copies between buffer
// and memory when the command is written, and is done when that write returns. Bus mastering
// is always on; there are no interrupts.
inline constexpr uint64_t kSimDeviceBarSize = 64 * 1024;
inline constexpr uint64_t kSimDeviceBuffer = 0x8000;
inline constexpr uint64_t kSimDeviceBufferSize = 32 * 1024;

// Offsets of the registers. "ro": writes change nothing.
enum SimDeviceRegister : uint64_t {
  // ro: kSimDeviceIdentification.
  kSimRegisterIdentification = 0x00,
  // Bits 19:0 the PASID of requests, bit 31 whether they carry it (else they go through
  // stage 2 alone), bit 30 whether they are privileged (supervisor requests).
  kSimRegisterPasid = 0x08,
  // Where requests begin: a guest virtual address with a PASID, else a guest physical one.
  kSimRegisterAddress = 0x10,
  // Bytes, at most kSimDeviceBufferSize; the buffer is used from its start.
  kSimRegisterLength = 0x18,
  // Writing its low byte starts: 1 reads memory into the buffer, 2 writes the buffer to
  // memory. Reads as the last command.
  kSimRegisterCommand = 0x20,
  // ro: a SimDeviceStatus.
  kSimRegisterStatus = 0x28,
  // ro: the first address that was refused. Pages before it were copied.
  kSimRegisterFaultAddress = 0x30,
  // ro: why, as uapi::IOMMU_FAULT_REASON_*, or kSimFaultReasonNotModelled.
  kSimRegisterFaultReason = 0x38,
  // ro: commands done and commands that ended in a fault, since power on.
  kSimRegisterDmaCount = 0x40,
  kSimRegisterFaultCount = 0x48,
};

inline constexpr uint64_t kSimDeviceIdentification = 0x3141'4d44'5254'534e;  // "NSTRDMA1"
inline constexpr uint64_t kSimPasidValid = uint64_t{1} << 31;
inline constexpr uint64_t kSimPasidPrivileged = uint64_t{1} << 30;
inline constexpr uint64_t kSimCommandRead = 1;
inline constexpr uint64_t kSimCommandWrite = 2;

enum SimDeviceStatus : uint64_t {
  kSimStatusIdle = 0,  // no command since reset
  kSimStatusDone = 1,
  kSimStatusFault = 2,  // refused by the IOMMU: see the fault registers
  kSimStatusError = 3,  // unknown command, or a length beyond the buffer
};

// Beyond the kernel's reasons: the guest's first stage is of a kind that is not simulated.
inline constexpr uint32_t kSimFaultReasonNotModelled = 0x100;

// "PASID_INVALID" for uapi::IOMMU_FAULT_REASON_PASID_INVALID; the number itself where it has
// no name.
std::string FaultReasonName(uint32_t reason);

}  // namespace nestor::kernel
