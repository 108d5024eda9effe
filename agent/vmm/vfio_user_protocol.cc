#include "agent/vmm/vfio_user_protocol.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace nestor::agent::vfio_user {
namespace {

// What is fixed in front of VERSION's JSON.
struct VersionPrefix {
  uint16_t major;
  uint16_t minor;
};
static_assert(sizeof(VersionPrefix) == 4);

constexpr uint16_t kMinorVersion = 1;
// QEMU reads all of configuration space in one message, and gives up where it cannot.
constexpr uint64_t kMinDataTransfer = 4096;

std::string EncodeMessage(Header header, absl::string_view payload) {
  header.size = static_cast<uint32_t>(sizeof(Header) + payload.size());
  std::string message = EncodePayload(header);
  message.append(payload.data(), payload.size());
  return message;
}

// Sets `*value` from a capability if it is there and an unsigned number.
void ReadNumber(const nlohmann::json& capabilities, const char* name, uint64_t* value) {
  const auto field = capabilities.find(name);
  if (field != capabilities.end() && field->is_number_unsigned()) field->get_to(*value);
}

absl::Status DecodeCapabilities(absl::string_view text, Version* version) {
  const auto document = nlohmann::json::parse(text.begin(), text.end(), /*cb=*/nullptr,
                                              /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return absl::InvalidArgumentError("what VERSION carries is no JSON object");
  }
  const auto capabilities = document.find("capabilities");
  if (capabilities == document.end()) return absl::OkStatus();
  ReadNumber(*capabilities, "max_msg_fds", &version->max_msg_fds);
  ReadNumber(*capabilities, "max_data_xfer_size", &version->max_data_xfer_size);
  ReadNumber(*capabilities, "max_dma_maps", &version->max_dma_maps);
  ReadNumber(*capabilities, "pgsizes", &version->page_sizes);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Header> DecodeHeader(absl::string_view bytes) {
  auto header = DecodePayload<Header>(bytes);
  if (!header.ok()) return header;
  if (header->size < sizeof(Header) || header->size > kMaxMessageSize) {
    return absl::InvalidArgumentError(absl::StrCat("message of ", header->size,
                                                   " bytes: ", sizeof(Header), " to ",
                                                   kMaxMessageSize, " are possible"));
  }
  const uint32_t type = header->flags & kTypeMask;
  if (type != kTypeCommand && type != kTypeReply) {
    return absl::InvalidArgumentError(absl::StrCat("message of type ", type));
  }
  return header;
}

std::string EncodeCommand(Command command, uint16_t message_id, absl::string_view payload,
                          uint32_t flags) {
  return EncodeMessage({.message_id = message_id,
                        .command = static_cast<uint16_t>(command),
                        .flags = kTypeCommand | flags},
                       payload);
}

std::string EncodeReply(const Header& request, absl::string_view payload) {
  return EncodeMessage(
      {.message_id = request.message_id, .command = request.command, .flags = kTypeReply}, payload);
}

std::string EncodeErrorReply(const Header& request, int error) {
  return EncodeMessage({.message_id = request.message_id,
                        .command = request.command,
                        .flags = kTypeReply | kError,
                        .error = static_cast<uint32_t>(error)},
                       {});
}

absl::StatusOr<Version> DecodeVersion(absl::string_view payload) {
  const auto prefix = DecodePayload<VersionPrefix>(payload);
  if (!prefix.ok()) return prefix.status();
  Version version{.major = prefix->major, .minor = prefix->minor};
  absl::string_view json = payload.substr(sizeof(VersionPrefix));
  if (json.empty()) return version;
  if (json.back() != '\0') return absl::InvalidArgumentError("VERSION's JSON has no NUL");
  json = json.substr(0, json.find('\0'));
  if (json.empty()) return version;
  if (auto status = DecodeCapabilities(json, &version); !status.ok()) return status;
  return version;
}

std::string EncodeVersion(const Version& version) {
  std::string payload = EncodePayload(VersionPrefix{version.major, version.minor});
  absl::StrAppend(&payload, "{\"capabilities\":{\"max_msg_fds\":", version.max_msg_fds,
                  ",\"max_data_xfer_size\":", version.max_data_xfer_size,
                  ",\"max_dma_maps\":", version.max_dma_maps, ",\"pgsizes\":", version.page_sizes,
                  "}}");
  payload.push_back('\0');
  return payload;
}

absl::StatusOr<Version> Negotiate(const Version& proposal) {
  if (proposal.major != 0) {
    return absl::UnimplementedError(
        absl::StrCat("vfio-user version ", proposal.major, ".", proposal.minor, "; 0.x is spoken"));
  }
  if (proposal.max_data_xfer_size < kMinDataTransfer) {
    return absl::UnimplementedError(absl::StrCat("max_data_xfer_size ", proposal.max_data_xfer_size,
                                                 " is below ", kMinDataTransfer,
                                                 ", the size of configuration space"));
  }
  Version answer{.major = 0, .minor = std::min(proposal.minor, kMinorVersion)};
  answer.max_msg_fds = std::min<uint64_t>(proposal.max_msg_fds, kMaxMessageFds);
  answer.max_data_xfer_size = std::min<uint64_t>(proposal.max_data_xfer_size, kMaxDataTransfer);
  answer.max_dma_maps = std::min<uint64_t>(proposal.max_dma_maps, kMaxDmaMaps);
  return answer;
}

}  // namespace nestor::agent::vfio_user
