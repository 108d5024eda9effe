// Where a virtual machine monitor finds the socket of a device.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"
#include "api/support/file_descriptor.h"

namespace nestor::agent {

// `{directory}/{project}.{vm}/{bdf}.sock`. INVALID_ARGUMENT: `vm_name` is not
// projects/{project}/virtualMachines/{vm}, `device` is no PCI address, or the path is
// too long for the address of a unix socket (103 bytes).
absl::StatusOr<std::string> VmmSocketPath(absl::string_view directory, absl::string_view vm_name,
                                          const Bdf& device);

// Listens at such a path, non-blocking, in place of what a dead process left there. The
// machine's directory is made with mode 0700, the ones above it as usual. The path appears
// only once connections are taken, so that clients may wait for it. `type` is SOCK_STREAM or
// SOCK_SEQPACKET.
absl::StatusOr<FileDescriptor> ListenAt(const std::string& path, int type);

// Removes the path, and the machine's directory where it was the last in it.
void RemoveSocket(const std::string& path);

}  // namespace nestor::agent
