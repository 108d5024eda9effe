// The calls that a client makes on a connection and on a file.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/kernel/sim_kernel.h"
#include "agent/simkernel/nestorsim_wire.h"

namespace nestor::kernel {

// Does what `call` says for `task`: a value >= 0 or -errno, as its number has it. The system's
// mutex is not held. A descriptor that comes of it was installed in `task`.
//
// On a connection: calls that name a path. -EBADF: the call is one on a file; -EINVAL: there is
// no such call.
int64_t CallOnConnection(SimKernel& kernel, SimTask& task, const nestorsim_call& call);
// On `file`. -ENOTDIR: the call names a path; -EINVAL: there is no such call.
int64_t CallOnFile(SimKernel& kernel, SimTask& task, SimFile& file, const nestorsim_call& call);

}  // namespace nestor::kernel
