// The command lines that start nestor-shim, and how they are run.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nestor::agent {

// What every shim of an agent has in common.
struct ShimSetup {
  std::string program;  // path of nestor-shim
  std::string run_dir;  // of the agent
  std::string kernel = "linux";
  std::string iommu = "type1";  // IommuBackend::name()
  std::string log_level = "info";
};

// Whose shim is to be started.
struct ShimTarget {
  std::string vm_name;
  std::string vm_uid;
  bool after_loss = false;  // an earlier owner of the machine died with all that it held
};

// RUN_DIR/shims/{uid}.sock: where the shim of that machine listens, its log beside it.
// INVALID_ARGUMENT: a uid of other characters than letters, digits and dashes.
absl::StatusOr<std::string> ShimSocketPath(const std::string& run_dir, const std::string& vm_uid);
// The uid in such a file name; empty: it is none.
std::string VmUidOf(const std::string& file_name);

// A child of the agent that leaves it: in a session of its own, with init as its parent. The
// command ends once the shim listens.
std::vector<std::string> ForkCommand(const ShimSetup& setup, const ShimTarget& target,
                                     const std::string& socket);
// A transient service of systemd, in a control group of its own, which outlives the agent's
// service and its container. The command ends once the shim has told systemd that it listens.
std::vector<std::string> SystemdCommand(const ShimSetup& setup, const ShimTarget& target,
                                        const std::string& socket);

// A copy of `program` in `directory` under a name that holds a hash of its content, so that a
// running shim's program stays where it is when a newer one is installed. An existing copy is
// taken as it is.
absl::StatusOr<std::string> CopyUnderContentHash(const std::string& program,
                                                 const std::string& directory);

// Runs a command, found in PATH, to its end. INTERNAL: it ended with another code than 0; the
// message has what it printed. DEADLINE_EXCEEDED: it was killed after `patience`. Another code:
// it could not be started.
absl::Status RunCommand(const std::vector<std::string>& command, absl::Duration patience);

}  // namespace nestor::agent
