// What `nestor-simkernel --status` prints.
#pragma once

#include <string>

#include "agent/kernel/sim_kernel.h"

namespace nestor::kernel {

// One line of JSON, an object with the names of SimStatistics' fields, with its newline.
std::string StatusText(const SimStatistics& statistics);

}  // namespace nestor::kernel
