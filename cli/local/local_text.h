// What `nestorctl --local` shows people. Pure; only printable ASCII of what an agent says
// comes out as it is.
#pragma once

#include <string>

#include "nestor/v1/local_agent_service.pb.h"

namespace nestor::cli {

// What owners hold: machine by machine, their devices, guest memory, tables and bindings.
std::string DumpText(const v1::DumpResponse& dump);

// One line on what became of a binding, and one on what to do next where something is.
std::string BindText(const v1::BindRequest& request, const v1::BindResponse& response);

// What the device read, as hexadecimal and text; or why it could not.
std::string DmaTestText(const v1::DmaTestResponse& response);

// Call by call: its name, object and result; `>` before the bytes given, `<` before those
// that came back, at most 256 each.
std::string TraceText(const v1::KernelTrace& trace);

// "00000000  68 65 6c 6c 6f  |hello|", 16 bytes a line, each line after `prefix`.
std::string HexDump(const std::string& prefix, const std::string& bytes);

}  // namespace nestor::cli
