// One end of a conversation of packets: a SOCK_SEQPACKET unix socket.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

// No packet is larger.
inline constexpr size_t kMaxPacket = 64 << 10;

// How long a side may leave packets lying before it counts as gone.
inline constexpr absl::Duration kPacketPatience = absl::Seconds(5);

struct Packet {
  std::string bytes;
  FileDescriptor descriptor;  // that came beside them; invalid: none
};

// Move-only. Send and Receive may run at the same time, each on one thread; Shutdown on any.
class PacketSocket {
 public:
  PacketSocket() = default;
  // Of a connected socket.
  explicit PacketSocket(FileDescriptor socket);

  // Connects to who listens at `path`. NOT_FOUND: there is nothing at `path`. UNAVAILABLE:
  // nobody listens any more. DEADLINE_EXCEEDED: somebody does, but takes no connection.
  // INVALID_ARGUMENT: `path` is too long for the address of a unix socket.
  static absl::StatusOr<PacketSocket> Connect(const std::string& path);

  // Sends one packet, with a duplicate of `descriptor` unless that is -1. INVALID_ARGUMENT:
  // larger than kMaxPacket. UNAVAILABLE: the other side is gone, or took nothing for
  // kPacketPatience.
  absl::Status Send(const std::string& bytes, int descriptor = -1);
  // Waits for the next packet. UNAVAILABLE: the other side is gone. INVALID_ARGUMENT: it sent
  // what cannot be: a larger packet, or more than one descriptor.
  absl::StatusOr<Packet> Receive();

  // Ends both directions: Send and Receive fail from now on, also those that wait.
  void Shutdown();

  int fd() const { return socket_.get(); }
  bool valid() const { return socket_.valid(); }

 private:
  FileDescriptor socket_;
};

// Listens at `path` in place of what a dead process left there; its directory is there. The path
// appears only once connections are taken, so that its being there means that somebody listens,
// or did. ALREADY_EXISTS: somebody listens there. INVALID_ARGUMENT: `path` is too long.
absl::StatusOr<FileDescriptor> ListenForPackets(const std::string& path);
// The next connection. Blocks.
absl::StatusOr<PacketSocket> AcceptPackets(int listener);

}  // namespace nestor::agent
