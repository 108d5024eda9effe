// Shims that live inside the agent's process: the simplest launcher, for laptops and tests.
// What they hold ends with the process.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/core/plan.h"
#include "agent/core/retry_policy.h"
#include "agent/kernel/syscalls.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_core.h"
#include "agent/shim/worker_pool.h"
#include "agent/vfio/iommu_backend.h"
#include "api/support/clock.h"
#include "api/support/event_loop.h"

namespace nestor::agent {

class RunningShim;

struct InlineShimOptions {
  // Threads for kernel calls, shared by all shims. A call that blocks in the kernel keeps
  // one of them, so `workers` - 1 such calls hold up only their own machines.
  int workers = 4;
  // Called after each step on the thread that did it. Must be quick.
  std::function<void(const Step&, const StepResult&)> on_step = {};
  // An earlier owner of the machines died: ShimCoreOptions::after_loss.
  bool after_loss = false;
  // Between the attempts of a step that failed and may succeed later.
  Backoff backoff;
};

// Runs each shim as a sequence of short tasks on a shared pool, never two at a time for one
// shim; one more thread waits for the earliest retry of them all.
//
// Destruction waits for the kernel calls that run, then closes everything that any shim
// holds; a Shim that somebody still has answers UNAVAILABLE from then on. Thread-safe.
class InlineShimLauncher final : public ShimLauncher {
 public:
  // The referenced objects must outlive the launcher and its shims. `report` may be called
  // until the destructor returns.
  InlineShimLauncher(IommuBackend& backend, kernel::Syscalls& syscalls, const Clock& clock,
                     ReportCallback report, InlineShimOptions options);
  ~InlineShimLauncher() override;

  // The errors are those of IommuBackend::CreateAddressSpace.
  absl::StatusOr<std::shared_ptr<Shim>> Launch(const std::string& vm_name,
                                               const std::string& vm_uid) override;
  absl::Status Retire(const std::string& vm_uid) override;
  std::vector<std::shared_ptr<Shim>> Running() override;

 private:
  IommuBackend& backend_;
  kernel::Syscalls& syscalls_;
  const Clock& clock_;
  const ReportCallback report_;
  const InlineShimOptions options_;

  WorkerPool workers_;
  EventLoop timer_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<RunningShim>> shims_;  // by uid of the machine
};

}  // namespace nestor::agent
