// Recorded kernel calls as the local API tells them.
#pragma once

#include <memory>

#include "agent/kernel/tracing_syscalls.h"
#include "nestor/v1/local_agent_service.pb.h"

namespace nestor::agent {

// Starts to listen where it is `wanted`; else nothing.
std::shared_ptr<kernel::TracingSyscalls::Recording> StartTrace(kernel::TracingSyscalls& syscalls,
                                                               bool wanted);

// What was recorded; null: an empty trace.
v1::KernelTrace ToKernelTrace(const kernel::TracingSyscalls::Recording* recording);

}  // namespace nestor::agent
