// Messages come out of a stream as they were put in, however it cuts them into pieces.
#include <sys/socket.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vmm/message_stream.h"
#include "agent/vmm/vfio_user_protocol.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using agent::Message;
using agent::MessageStream;
namespace vfio_user = agent::vfio_user;

// Far below what a socket's buffer takes at once.
constexpr size_t kMaxStream = 64 << 10;

struct Received {
  std::string bytes;  // of whole messages
  absl::Status end;   // OK: more could follow
};

void TakeWhole(MessageStream& stream, Received* received) {
  while (received->end.ok()) {
    absl::StatusOr<std::optional<Message>> message = stream.Receive();
    if (!message.ok()) {
      received->end = message.status();
    } else if (message->has_value()) {
      received->bytes += vfio_user::EncodePayload((*message)->header) + (*message)->payload;
    } else {
      return;
    }
  }
}

// What a reader gets that looks after each of the `pieces`.
Received Receive(const std::vector<absl::string_view>& pieces) {
  int ends[2];
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  const FileDescriptor writer(ends[0]);
  MessageStream stream{FileDescriptor(ends[1])};
  Received received;
  for (const absl::string_view piece : pieces) {
    if (piece.empty()) continue;
    const ssize_t sent = send(writer.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    FUZZ_CHECK(sent == static_cast<ssize_t>(piece.size()));
    TakeWhole(stream, &received);
    if (!received.end.ok()) break;
  }
  return received;
}

void CheckVersion(absl::string_view payload) {
  const auto version = vfio_user::DecodeVersion(payload);
  if (!version.ok()) return;
  const auto again = vfio_user::DecodeVersion(vfio_user::EncodeVersion(*version));
  FUZZ_CHECK(again.ok() && *again == *version);
  const auto answer = vfio_user::Negotiate(*version);
  if (!answer.ok()) return;
  FUZZ_CHECK(answer->max_msg_fds <= std::min(version->max_msg_fds, vfio_user::kMaxMessageFds));
  FUZZ_CHECK(answer->max_data_xfer_size <= version->max_data_xfer_size);
  FUZZ_CHECK(answer->max_dma_maps <= version->max_dma_maps);
  FUZZ_CHECK(answer->major == version->major && answer->minor <= version->minor);
}

}  // namespace

// The first byte says how the rest is cut into pieces.
void FuzzVfioUser(absl::string_view bytes) {
  FuzzInput input(bytes);
  const size_t piece_size = 1 + input.Below(256);
  const absl::string_view stream = input.Bytes(kMaxStream);
  std::vector<absl::string_view> pieces;
  for (size_t at = 0; at < stream.size(); at += piece_size) {
    pieces.push_back(stream.substr(at, piece_size));
  }
  const Received whole = Receive({stream});
  const Received cut = Receive(pieces);
  FUZZ_CHECK(whole.bytes == cut.bytes && whole.end == cut.end);
  FUZZ_CHECK(stream.substr(0, whole.bytes.size()) == whole.bytes);

  CheckVersion(stream);
}

}  // namespace nestor::fuzz
