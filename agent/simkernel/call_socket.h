// The sockets of nestor-simkernel: one packet is one call.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "agent/simkernel/nestorsim_wire.h"
#include "api/support/file_descriptor.h"

namespace nestor::kernel {

// What a socket had for its reader.
struct ReceivedCall {
  enum class Kind {
    kCall,     // all of it is set
    kInvalid,  // a packet that is no call; `result` and `pid` may be set
    kNothing,  // no packet for now
    kEnd,      // the other end is closed, and nothing is left to read
  };
  Kind kind = Kind::kNothing;
  nestorsim_call call = {};
  FileDescriptor result;  // where the result goes
  pid_t pid = 0;          // of the caller, as the host's kernel says; 0: not of this PID namespace
};

// Listens at `path`, in place of what a dead process left there, for the same user alone.
// Non-blocking. ALREADY_EXISTS: somebody listens there.
absl::StatusOr<FileDescriptor> ListenForCalls(const std::string& path);

// Has the host's kernel say who sends, from the next packet on.
bool IdentifySenders(int socket);

// Takes one packet from a non-blocking socket.
ReceivedCall ReceiveCall(int socket);

// Whether somebody still waits for what `result` will be sent.
bool IsAwaited(const FileDescriptor& result);

// Answers a call; `descriptor`, if valid, takes the place of `value`. Never blocks: a caller
// that does not take its result has none.
void SendResult(const FileDescriptor& result, int64_t value, const FileDescriptor& descriptor);

}  // namespace nestor::kernel
