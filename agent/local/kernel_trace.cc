#include "agent/local/kernel_trace.h"

#include "agent/core/kernel_error.h"

namespace nestor::agent {
namespace {

// With what a typical call carries this stays well below a message's 4 MiB.
constexpr size_t kMaxCalls = 5000;
constexpr uint64_t kMaxBytes = 2 << 20;

v1::KernelCall ToKernelCall(const kernel::TracedCall& call) {
  v1::KernelCall result;
  result.set_call(call.call);
  result.set_operation(call.operation);
  result.set_object(call.object);
  result.set_argument(call.argument);
  result.set_reply(call.reply);
  result.set_result(call.result);
  if (call.result < 0) result.set_error_name(ErrnoName(static_cast<int>(-call.result)));
  return result;
}

}  // namespace

std::shared_ptr<kernel::TracingSyscalls::Recording> StartTrace(kernel::TracingSyscalls& syscalls,
                                                               bool wanted) {
  return wanted ? syscalls.Record(kMaxCalls) : nullptr;
}

v1::KernelTrace ToKernelTrace(const kernel::TracingSyscalls::Recording* recording) {
  v1::KernelTrace trace;
  if (recording == nullptr) return trace;
  uint64_t dropped = recording->dropped();
  uint64_t bytes = 0;
  for (const kernel::TracedCall& call : recording->Calls()) {
    v1::KernelCall shown = ToKernelCall(call);
    bytes += shown.ByteSizeLong();
    if (bytes <= kMaxBytes) {
      *trace.add_calls() = std::move(shown);
    } else {
      ++dropped;
    }
  }
  trace.set_dropped(dropped);
  return trace;
}

}  // namespace nestor::agent
