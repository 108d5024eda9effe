#include "agent/vmm/vfio_user_session.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "agent/core/kernel_error.h"
#include "api/support/log.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

using vfio_user::Command;

// The errno of a reply: the kernel's own where a kernel call failed.
int ToErrno(const absl::Status& status) {
  if (const auto error = GetKernelError(status)) return error->error_number;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return EINVAL;
    case absl::StatusCode::kNotFound:
      return ENOENT;
    case absl::StatusCode::kAlreadyExists:
      return EEXIST;
    case absl::StatusCode::kPermissionDenied:
      return EACCES;
    case absl::StatusCode::kResourceExhausted:
      return ENOMEM;
    case absl::StatusCode::kUnimplemented:
      return EOPNOTSUPP;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnavailable:
      return EBUSY;
    default:
      return EIO;
  }
}

// A mapping past the end of its file would fault in whoever touches it.
absl::Status CheckBacking(const FileDescriptor& memory, const vfio_user::DmaMap& request) {
  struct stat file;
  if (fstat(memory.get(), &file) != 0 || !S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError("guest memory that is no file");
  }
  const auto size = static_cast<uint64_t>(file.st_size);
  if (request.offset % 4096 != 0 || request.offset > size || request.size > size - request.offset) {
    return absl::InvalidArgumentError(
        absl::StrFormat("guest memory at offset %#x, %#x bytes, of a file of %#x bytes",
                        request.offset, request.size, size));
  }
  return absl::OkStatus();
}

// Whether the shim is to map it: what it has no descriptor for, or may not write, stays
// out of stage 2, where read-only entries are not possible.
bool IsForShim(const vfio_user::DmaMap& request, bool has_fd) {
  constexpr uint32_t kReadWrite = vfio_user::kDmaReadable | vfio_user::kDmaWriteable;
  constexpr uint32_t kFdUse = vfio_user::kDmaFdForMmap | vfio_user::kDmaFdForReadWrite;
  const bool mappable = (request.flags & kFdUse) != vfio_user::kDmaFdForReadWrite;
  return has_fd && mappable && (request.flags & kReadWrite) == kReadWrite;
}

// A monitor can be wrong as often as it likes.
constexpr int kMaxFailuresLogged = 20;

}  // namespace

VfioUserSession::VfioUserSession(std::shared_ptr<Shim> shim, Bdf device)
    : shim_(std::move(shim)), device_(std::move(device)) {}

VfioUserSession::~VfioUserSession() {
  if (agreed_) shim_->VmmDisconnected(device_);
}

absl::StatusOr<std::string> VfioUserSession::Handle(Message message) {
  if ((message.header.flags & vfio_user::kTypeMask) != vfio_user::kTypeCommand) {
    return absl::InvalidArgumentError("a reply to nothing that was asked");
  }
  if (!agreed_ && message.header.command != static_cast<uint16_t>(Command::kVersion)) {
    return absl::InvalidArgumentError(
        absl::StrCat("command ", message.header.command, " before VERSION"));
  }
  const auto payload = Dispatch(message);
  if (!payload.ok()) {
    LogFailure(absl::StrCat("command ", message.header.command, " failed"), payload.status());
  }
  if ((message.header.flags & vfio_user::kNoReply) != 0) return std::string();
  return payload.ok() ? vfio_user::EncodeReply(message.header, *payload)
                      : vfio_user::EncodeErrorReply(message.header, ToErrno(payload.status()));
}

absl::StatusOr<std::string> VfioUserSession::Dispatch(Message& message) {
  switch (static_cast<Command>(message.header.command)) {
    case Command::kVersion:
      return Agree(message.payload);
    case Command::kDmaMap:
      return MapMemory(message);
    case Command::kDmaUnmap:
      return UnmapMemory(message.payload);
    case Command::kDeviceGetInfo:
      return DescribeDevice(message.payload);
    case Command::kDeviceGetRegionInfo:
      return DescribeRegion(message.payload);
    case Command::kDeviceGetIrqInfo:
      return DescribeInterrupts(message.payload);
    case Command::kDeviceSetIrqs:
      return SetInterrupts(message);
    case Command::kRegionRead:
      return ReadRegion(message.payload);
    case Command::kRegionWrite:
      return WriteRegion(message.payload);
    case Command::kDeviceReset:
      return ResetDevice();
  }
  return absl::UnimplementedError("no such command");
}

absl::StatusOr<std::string> VfioUserSession::Agree(absl::string_view payload) {
  if (agreed_) return absl::InvalidArgumentError("a second VERSION");
  ASSIGN_OR_RETURN(const vfio_user::Version proposal, vfio_user::DecodeVersion(payload));
  ASSIGN_OR_RETURN(const vfio_user::Version answer, vfio_user::Negotiate(proposal));
  ASSIGN_OR_RETURN(const std::string vm_instance, shim_->VmmConnected(device_));
  agreed_ = true;
  log::Info({}, "{}: monitor connected, vfio-user {}.{}, instance {}", device_, answer.major,
            answer.minor, vm_instance);
  return vfio_user::EncodeVersion(answer);
}

absl::StatusOr<std::string> VfioUserSession::MapMemory(Message& message) {
  ASSIGN_OR_RETURN(const auto request,
                   vfio_user::DecodePayload<vfio_user::DmaMap>(message.payload));
  if (message.fds.size() > 1) return absl::InvalidArgumentError("DMA_MAP of several descriptors");
  const bool has_fd = !message.fds.empty();
  const MemoryPiece piece{request.address, request.size, IsForShim(request, has_fd)};
  RETURN_IF_ERROR(memory_.Check(piece));
  if (has_fd) RETURN_IF_ERROR(CheckBacking(message.fds[0], request));
  // Added before it can fail: the shim remembers what is missing until it is unmapped.
  memory_.Add(piece);
  if (piece.mapped) {
    RETURN_IF_ERROR(shim_->MapMemory(device_, {.guest_address = request.address,
                                               .size = request.size,
                                               .fd = message.fds[0].Release(),
                                               .offset = request.offset}));
  }
  return std::string();
}

absl::StatusOr<std::string> VfioUserSession::UnmapMemory(absl::string_view payload) {
  ASSIGN_OR_RETURN(const auto request, vfio_user::DecodePayload<vfio_user::DmaUnmap>(payload));
  std::vector<MemoryPiece> pieces;
  if (request.flags == vfio_user::kUnmapAll && request.address == 0 && request.size == 0) {
    pieces = memory_.All();
  } else if (request.flags == 0) {
    ASSIGN_OR_RETURN(pieces, memory_.Within(request.address, request.size));
  } else {
    return absl::UnimplementedError(absl::StrCat("DMA_UNMAP with flags ", request.flags));
  }
  for (const MemoryPiece& piece : pieces) {
    if (piece.mapped) {
      const absl::Status unmapped = shim_->UnmapMemory(device_, piece.address, piece.size);
      if (!unmapped.ok() && !absl::IsNotFound(unmapped)) return unmapped;
    }
    memory_.Remove(piece.address);
  }
  return vfio_user::EncodePayload(request);
}

absl::StatusOr<std::string> VfioUserSession::DescribeDevice(absl::string_view payload) {
  RETURN_IF_ERROR(vfio_user::DecodePayload<vfio_user::DeviceInfo>(payload).status());
  return vfio_user::EncodePayload(
      vfio_user::DeviceInfo{.flags = vfio_user::kDeviceResettable | vfio_user::kDevicePci,
                            .num_regions = vfio_user::kPciRegions,
                            .num_irqs = vfio_user::kPciIrqs});
}

absl::StatusOr<std::string> VfioUserSession::DescribeRegion(absl::string_view payload) {
  ASSIGN_OR_RETURN(const auto request, vfio_user::DecodePayload<vfio_user::RegionInfo>(payload));
  ASSIGN_OR_RETURN(const uint64_t size, RegionSize(request.index));
  vfio_user::RegionInfo reply{.index = request.index, .size = size};
  if (size != 0) reply.flags |= vfio_user::kRegionReadable;
  if (size != 0 && request.index != vfio_user::kRomRegion) {
    reply.flags |= vfio_user::kRegionWriteable;
  }
  return vfio_user::EncodePayload(reply);
}

// The port to the shim has no interrupts yet, so every index is empty; monitors take that.
absl::StatusOr<std::string> VfioUserSession::DescribeInterrupts(absl::string_view payload) {
  ASSIGN_OR_RETURN(const auto request, vfio_user::DecodePayload<vfio_user::IrqInfo>(payload));
  if (request.index >= vfio_user::kPciIrqs) {
    return absl::InvalidArgumentError(absl::StrCat("no interrupt index ", request.index));
  }
  return vfio_user::EncodePayload(
      vfio_user::IrqInfo{.flags = vfio_user::kIrqEventfd, .index = request.index});
}

absl::StatusOr<std::string> VfioUserSession::SetInterrupts(Message& message) {
  ASSIGN_OR_RETURN(const auto request,
                   vfio_user::DecodePayload<vfio_user::SetIrqs>(message.payload));
  const auto data = absl::string_view(message.payload).substr(sizeof(request));
  RETURN_IF_ERROR(interrupts_.Set(request, data, std::move(message.fds)));
  return std::string();
}

absl::StatusOr<std::string> VfioUserSession::ReadRegion(absl::string_view payload) {
  ASSIGN_OR_RETURN(const auto access, CheckedAccess(payload));
  auto data = shim_->ReadRegion(device_, access.region, access.offset, access.count);
  if (!data.ok()) {
    LogFailure(absl::StrCat("region ", access.region, " answers all ones"), data.status());
    data = std::string();
  }
  // As the bus does for a device that does not answer. Some clients wait for ever where
  // an error reply comes in place of data.
  data->resize(access.count, '\xff');
  return vfio_user::EncodePayload(access) + *data;
}

absl::StatusOr<std::string> VfioUserSession::WriteRegion(absl::string_view payload) {
  ASSIGN_OR_RETURN(const auto access, CheckedAccess(payload));
  const absl::string_view data = payload.substr(sizeof(access));
  if (data.size() != access.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("write of ", access.count, " bytes with ", data.size()));
  }
  RETURN_IF_ERROR(shim_->WriteRegion(device_, access.region, access.offset, std::string(data)));
  return vfio_user::EncodePayload(access);
}

absl::StatusOr<std::string> VfioUserSession::ResetDevice() {
  RETURN_IF_ERROR(shim_->ResetDevice(device_));
  return std::string();
}

absl::StatusOr<vfio_user::RegionAccess> VfioUserSession::CheckedAccess(absl::string_view payload) {
  ASSIGN_OR_RETURN(const auto access, vfio_user::DecodePayload<vfio_user::RegionAccess>(payload));
  ASSIGN_OR_RETURN(const uint64_t size, RegionSize(access.region));
  if (access.count > vfio_user::kMaxDataTransfer || access.offset > size ||
      access.count > size - access.offset) {
    return absl::InvalidArgumentError(absl::StrFormat("%d bytes at %#x of region %d, which has %#x",
                                                      access.count, access.offset, access.region,
                                                      size));
  }
  return access;
}

absl::StatusOr<uint64_t> VfioUserSession::RegionSize(uint32_t region) {
  if (region >= vfio_user::kPciRegions) {
    return absl::InvalidArgumentError(absl::StrCat("no region ", region));
  }
  if (!region_sizes_[region]) {
    ASSIGN_OR_RETURN(region_sizes_[region], shim_->RegionSize(device_, region));
  }
  return *region_sizes_[region];
}

void VfioUserSession::LogFailure(const std::string& what, const absl::Status& why) {
  if (failures_ == kMaxFailuresLogged) {
    log::Warn({}, "{}: later failures of this monitor's requests are not logged", device_);
  }
  if (failures_++ >= kMaxFailuresLogged) return;
  log::Warn({}, "{}: {}: {}", device_, what, why.ToString());
}

}  // namespace nestor::agent
