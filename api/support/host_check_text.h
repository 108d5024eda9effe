// How `nestor-agent check` and `nestorctl --local check` show what they found.
#pragma once

#include <string>

#include "nestor/v1/host_check.pb.h"

namespace nestor {

// For people: the host, a table of its devices, and what to do about each. Of what the host
// says, only printable ASCII comes out as it is.
std::string HostCheckText(const v1::HostCheck& check);

// The message as JSON, with every field, ending with a newline.
std::string HostCheckJson(const v1::HostCheck& check);

// 0: every device is ready; 1: some are not; 3: there was no device to check.
int HostCheckExitCode(const v1::HostCheck& check);

}  // namespace nestor
