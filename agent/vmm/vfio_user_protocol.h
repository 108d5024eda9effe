// The messages of the vfio-user protocol (QEMU: docs/interop/vfio-user.rst), version 0.1.
//
// The wire format is a header and a payload of naturally aligned integers in host byte
// order, so each payload is declared here as the struct that it is. Everything is pure:
// bytes in, values out. Nothing is allocated for a size that was not checked first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nestor::agent::vfio_user {

// The commands that are taken, all sent by the client; any other is answered EOPNOTSUPP.
enum class Command : uint16_t {
  kVersion = 1,
  kDmaMap = 2,
  kDmaUnmap = 3,
  kDeviceGetInfo = 4,
  kDeviceGetRegionInfo = 5,
  kDeviceGetIrqInfo = 7,
  kDeviceSetIrqs = 8,
  kRegionRead = 9,
  kRegionWrite = 10,
  kDeviceReset = 13,
};

// Header.flags: the low four bits are the type.
inline constexpr uint32_t kTypeMask = 0xf;
inline constexpr uint32_t kTypeCommand = 0;
inline constexpr uint32_t kTypeReply = 1;
inline constexpr uint32_t kNoReply = 0x10;
inline constexpr uint32_t kError = 0x20;

// Begins each message.
struct Header {
  uint16_t message_id = 0;  // echoed by the reply; means something to the sender only
  uint16_t command = 0;     // echoed by the reply
  uint32_t size = 0;        // bytes of the whole message, this header included
  uint32_t flags = 0;
  uint32_t error = 0;  // errno, in a reply with kError
};
static_assert(sizeof(Header) == 16);

// Payload of DMA_MAP. Its memory descriptor travels beside it. No reply payload.
struct DmaMap {
  uint32_t argsz = 0;
  uint32_t flags = 0;    // kDma*
  uint64_t offset = 0;   // into the descriptor
  uint64_t address = 0;  // guest physical
  uint64_t size = 0;     // bytes
};
static_assert(sizeof(DmaMap) == 32);
inline constexpr uint32_t kDmaReadable = 1;
inline constexpr uint32_t kDmaWriteable = 2;
// libvfio-user's additions: what the descriptor is good for. Neither: mmap.
inline constexpr uint32_t kDmaFdForMmap = 4;
inline constexpr uint32_t kDmaFdForReadWrite = 8;

// Payload of DMA_UNMAP; the reply echoes it.
struct DmaUnmap {
  uint32_t argsz = 0;
  uint32_t flags = 0;  // kUnmap*, Linux's numbers
  uint64_t address = 0;
  uint64_t size = 0;
};
static_assert(sizeof(DmaUnmap) == 24);
inline constexpr uint32_t kUnmapDirtyBitmap = 1;
inline constexpr uint32_t kUnmapAll = 2;  // address and size are 0

// Payload of DEVICE_GET_INFO and of its reply.
struct DeviceInfo {
  uint32_t argsz = sizeof(DeviceInfo);
  uint32_t flags = 0;
  uint32_t num_regions = 0;
  uint32_t num_irqs = 0;
};
static_assert(sizeof(DeviceInfo) == 16);
inline constexpr uint32_t kDeviceResettable = 1;
inline constexpr uint32_t kDevicePci = 2;

// Payload of DEVICE_GET_REGION_INFO and of its reply.
struct RegionInfo {
  uint32_t argsz = sizeof(RegionInfo);
  uint32_t flags = 0;
  uint32_t index = 0;  // PCI: 0-5 BARs, 6 ROM, 7 configuration space, 8 VGA
  uint32_t cap_offset = 0;
  uint64_t size = 0;
  uint64_t offset = 0;  // for mmap of the region's descriptor
};
static_assert(sizeof(RegionInfo) == 32);
inline constexpr uint32_t kRegionReadable = 1;
inline constexpr uint32_t kRegionWriteable = 2;
inline constexpr uint32_t kRomRegion = 6;
inline constexpr uint32_t kConfigRegion = 7;
inline constexpr uint32_t kPciRegions = 9;

// Payload of DEVICE_GET_IRQ_INFO and of its reply.
struct IrqInfo {
  uint32_t argsz = sizeof(IrqInfo);
  uint32_t flags = 0;
  uint32_t index = 0;  // PCI: 0 INTx, 1 MSI, 2 MSI-X, 3 ERR, 4 REQ
  uint32_t count = 0;
};
static_assert(sizeof(IrqInfo) == 16);
inline constexpr uint32_t kIrqEventfd = 1;
inline constexpr uint32_t kPciIrqs = 5;

// Payload of DEVICE_SET_IRQS, followed by `count` bytes where the data is BOOL; eventfds
// travel beside it. No reply payload.
struct SetIrqs {
  uint32_t argsz = sizeof(SetIrqs);
  uint32_t flags = 0;  // one kIrqData* and one kIrqAction*
  uint32_t index = 0;
  uint32_t start = 0;
  uint32_t count = 0;
};
static_assert(sizeof(SetIrqs) == 20);
inline constexpr uint32_t kIrqDataNone = 1;
inline constexpr uint32_t kIrqDataBool = 2;
inline constexpr uint32_t kIrqDataEventfd = 4;
inline constexpr uint32_t kIrqActionMask = 8;
inline constexpr uint32_t kIrqActionUnmask = 16;
inline constexpr uint32_t kIrqActionTrigger = 32;

// Begins REGION_READ, REGION_WRITE and their replies. Data follows in a write's request
// and in a read's reply.
struct RegionAccess {
  uint64_t offset = 0;
  uint32_t region = 0;
  uint32_t count = 0;  // bytes
};
static_assert(sizeof(RegionAccess) == 16);

// Most data in one REGION_READ or REGION_WRITE: the protocol's default.
inline constexpr size_t kMaxDataTransfer = 1 << 20;
// The largest message taken: a write of that much.
inline constexpr size_t kMaxMessageSize = sizeof(Header) + sizeof(RegionAccess) + kMaxDataTransfer;
// Most descriptors beside one message. QEMU refuses a server that offers more;
// cloud-hypervisor sends up to so many whatever the server offers.
inline constexpr size_t kMaxMessageFds = 16;
// The protocol's default, and so the most that a client may count on.
inline constexpr size_t kMaxDmaMaps = 65535;

// What VERSION agrees on; the values here are what a client means that names none.
struct Version {
  uint16_t major = 0;
  uint16_t minor = 0;
  uint64_t max_msg_fds = 1;
  uint64_t max_data_xfer_size = kMaxDataTransfer;
  uint64_t max_dma_maps = kMaxDmaMaps;
  uint64_t page_sizes = 4096;  // bitmap
  bool operator==(const Version&) const = default;
};

// INVALID_ARGUMENT: `bytes` is no header, or names a size that no message has. The stream
// cannot be followed any further then.
absl::StatusOr<Header> DecodeHeader(absl::string_view bytes);

// The struct that `payload` begins with. INVALID_ARGUMENT: it is too short.
template <typename T>
absl::StatusOr<T> DecodePayload(absl::string_view payload) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (payload.size() < sizeof(T)) return absl::InvalidArgumentError("payload is too short");
  T value;
  std::memcpy(&value, payload.data(), sizeof(T));
  return value;
}

// The bytes of a struct of this file.
template <typename T>
std::string EncodePayload(const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Whole messages. `flags`: kNoReply or 0.
std::string EncodeCommand(Command command, uint16_t message_id, absl::string_view payload,
                          uint32_t flags = 0);
std::string EncodeReply(const Header& request, absl::string_view payload);
// `error`: errno. An error reply has no payload, whatever the command.
std::string EncodeErrorReply(const Header& request, int error);

// The payload of VERSION. Unknown capabilities and absent JSON are fine. INVALID_ARGUMENT:
// too short, or the JSON is none or is not ended by a NUL.
absl::StatusOr<Version> DecodeVersion(absl::string_view payload);
std::string EncodeVersion(const Version& version);

// The server's answer to a client's proposal. UNIMPLEMENTED: another major version, or
// limits that we cannot work within.
absl::StatusOr<Version> Negotiate(const Version& proposal);

}  // namespace nestor::agent::vfio_user
