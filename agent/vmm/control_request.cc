#include "agent/vmm/control_request.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/vmm/nestor_control.h"

namespace nestor::agent {
namespace {

using Header = nestor_control_header;

// The longest text that fits goes in; the rest of the field is zero already.
template <size_t kSize>
void CopyText(absl::string_view text, char (&field)[kSize]) {
  text.copy(field, kSize - 1);
}

template <typename Struct>
void Append(const Struct& part, std::string* message) {
  message->append(reinterpret_cast<const char*>(&part), sizeof(part));
}

// Nothing where the packet has not all of it.
template <typename Request>
std::optional<Request> ReadRequest(absl::string_view packet) {
  if (packet.size() < sizeof(Request)) return std::nullopt;
  Request request;
  std::memcpy(&request, packet.data(), sizeof(request));
  return request;
}

Header ReplyHeader(const Header& request) {
  Header header{};
  header.version = NESTOR_CONTROL_VERSION;
  header.type = request.type | NESTOR_CONTROL_REPLY;
  header.id = request.id;
  return header;
}

std::string ResultMessage(const Header& request, int error, absl::string_view message) {
  nestor_control_result result{};
  result.header = ReplyHeader(request);
  result.header.size = sizeof(result);
  result.header.error = static_cast<uint32_t>(error);
  CopyText(message, result.message);
  std::string bytes;
  Append(result, &bytes);
  return bytes;
}

nestor_control_device DeviceEntry(const Bdf& bdf, const std::string& socket,
                                  const ShimInventory& inventory) {
  nestor_control_device entry{};
  CopyText(bdf, entry.bdf);
  CopyText(socket, entry.socket);
  const auto found = inventory.capabilities.find(bdf);
  if (found == inventory.capabilities.end()) return entry;
  const DeviceCapabilities& device = found->second;
  entry.flags = NESTOR_CONTROL_DEVICE_ATTACHED;
  if (device.five_level) entry.flags |= NESTOR_CONTROL_DEVICE_FIVE_LEVEL;
  if (device.supervisor_request) entry.flags |= NESTOR_CONTROL_DEVICE_SUPERVISOR_REQUEST;
  if (device.extended_access_flag) entry.flags |= NESTOR_CONTROL_DEVICE_EXTENDED_ACCESS_FLAG;
  entry.nesting = static_cast<uint32_t>(device.granularity);
  entry.pasid_bits = device.pasid_bits;
  entry.address_width = device.address_width;
  return entry;
}

nestor_control_binding BindingEntry(const v1::Result& binding, const ShimInventory& inventory) {
  nestor_control_binding entry{};
  CopyText(binding.uid(), entry.uid);
  if (const auto key = inventory.keys.find(binding.uid()); key != inventory.keys.end()) {
    CopyText(key->second.device, entry.bdf);
    entry.pasid = key->second.pasid;
  }
  entry.state = static_cast<uint32_t>(binding.outcome());
  entry.root = binding.programmed_root();
  CopyText(binding.failure().reason(), entry.reason);
  return entry;
}

std::string VmInfoMessage(const nestor_control_vm_info_request& request,
                          const std::map<Bdf, std::string>& sockets,
                          const ShimInventory& inventory) {
  nestor_control_vm_info info{};
  info.header = ReplyHeader(request.header);
  CopyText(inventory.virtual_machine.name(), info.vm_name);
  CopyText(inventory.virtual_machine.vm_instance(), info.vm_instance);
  info.memory_incomplete = inventory.virtual_machine.has_memory_failure() ? 1 : 0;
  info.device_size = sizeof(nestor_control_device);
  info.device_count = static_cast<uint32_t>(sockets.size());
  info.binding_size = sizeof(nestor_control_binding);
  info.total_bindings = static_cast<uint32_t>(inventory.bindings.size());
  std::string entries;
  for (const auto& [bdf, socket] : sockets) {
    Append(DeviceEntry(bdf, socket, inventory), &entries);
  }
  const size_t room =
      (NESTOR_CONTROL_MAX_SIZE - sizeof(info) - entries.size()) / sizeof(nestor_control_binding);
  const size_t first = std::min<size_t>(request.first_binding, inventory.bindings.size());
  const size_t end = std::min(first + room, inventory.bindings.size());
  for (size_t i = first; i < end; ++i) {
    Append(BindingEntry(inventory.bindings[i], inventory), &entries);
  }
  info.binding_count = static_cast<uint32_t>(end - first);
  info.header.size = static_cast<uint32_t>(sizeof(info) + entries.size());
  std::string message;
  Append(info, &message);
  return message + entries;
}

int ErrnoOf(const absl::Status& status) {
  if (status.ok()) return 0;
  if (const auto error = GetKernelError(status)) return error->error_number;
  switch (status.code()) {
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
      return ENOENT;
    case absl::StatusCode::kInvalidArgument:
      return EINVAL;
    case absl::StatusCode::kResourceExhausted:
      return EBUSY;
    case absl::StatusCode::kUnavailable:
      return ESHUTDOWN;
    default:
      return EIO;
  }
}

void Invalidate(const nestor_control_invalidate_request& request, Shim& shim, ControlReply reply) {
  const void* end = std::memchr(request.bdf, 0, sizeof(request.bdf));
  if (end == nullptr) {
    return reply(ResultMessage(request.header, EINVAL, "bdf has no zero byte at its end"));
  }
  auto done = [header = request.header, reply = std::move(reply)](const absl::Status& status) {
    reply(ResultMessage(header, ErrnoOf(status),
                        absl::string_view(status.message().data(), status.message().size())));
  };
  shim.Invalidate({request.bdf, request.pasid}, request.address, request.size, std::move(done));
}

}  // namespace

void HandleControlRequest(absl::string_view packet, const std::map<Bdf, std::string>& sockets,
                          Shim& shim, ControlReply reply) {
  const auto header = ReadRequest<Header>(packet);
  const auto refuse = [&](int error, absl::string_view why) {
    reply(ResultMessage(header.value_or(Header{}), error, why));
  };
  if (!header || header->size != packet.size()) {
    return refuse(EBADMSG, "the packet's length is not its header's size");
  }
  if (header->version != NESTOR_CONTROL_VERSION) {
    return refuse(EPROTONOSUPPORT, absl::StrCat("this is version ", NESTOR_CONTROL_VERSION));
  }
  if (header->type == NESTOR_CONTROL_VM_INFO) {
    const auto request = ReadRequest<nestor_control_vm_info_request>(packet);
    if (!request) return refuse(EBADMSG, "a part of the request is missing");
    return reply(VmInfoMessage(*request, sockets, shim.Inventory()));
  }
  if (header->type == NESTOR_CONTROL_INVALIDATE) {
    const auto request = ReadRequest<nestor_control_invalidate_request>(packet);
    if (!request) return refuse(EBADMSG, "a part of the request is missing");
    return Invalidate(*request, shim, std::move(reply));
  }
  refuse(EOPNOTSUPP, absl::StrCat("there is no request of type ", header->type));
}

}  // namespace nestor::agent
