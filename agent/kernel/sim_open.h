// The simulated machine's files by name, for whoever makes the call.
#pragma once

#include <memory>
#include <string>

#include "agent/kernel/sim_file.h"

namespace nestor::kernel {

struct SimSystem;

// All of them run under the system's mutex and give 0 or -errno.

// open(2). -EISDIR: a directory; -EBUSY: a VFIO group that is in use.
int OpenPath(SimSystem& system, const std::string& path, std::shared_ptr<SimFile>* file);
// A whole attribute of sysfs or procfs. -EISDIR; -EINVAL: a node of a device; -EACCES.
int ReadText(const SimSystem& system, const std::string& path, std::string* content);
int WriteText(SimSystem& system, const std::string& path, const std::string& content);

}  // namespace nestor::kernel
