// A shim that runs in the agent's process.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/kernel/syscalls.h"
#include "agent/shim/guest_mapping.h"
#include "agent/shim/shim.h"
#include "agent/shim/shim_core.h"
#include "agent/shim/worker_pool.h"
#include "agent/vfio/iommu_backend.h"
#include "api/support/clock.h"
#include "api/support/event_loop.h"

namespace nestor::agent {

// What all shims of a launcher share; outlives them.
struct ShimEnvironment {
  IommuBackend& backend;
  kernel::Syscalls& syscalls;
  const Clock& clock;
  WorkerPool& workers;
  EventLoop& timer;
  const ShimLauncher::ReportCallback& report;
  const std::function<void(const Step&, const StepResult&)>& on_step;  // may be empty
};

// Drives a ShimCore. Events go into it at once, on the caller's thread; its steps are done
// one after another by tasks on the pool, of which at most one is posted or runs at any
// time, so answers leave in order too. Calls that access a device wait for the step that
// runs, no longer.
class RunningShim final : public Shim, public std::enable_shared_from_this<RunningShim> {
 public:
  RunningShim(const ShimEnvironment& environment, ShimCoreOptions options,
              std::unique_ptr<AddressSpace> address_space);

  absl::Status Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                     const std::vector<v1::DesiredBinding>& bindings) override;
  ShimInventory Inventory() override;
  absl::StatusOr<std::string> VmmConnected(const Bdf& device) override;
  void VmmDisconnected(const Bdf& device) override;
  absl::Status MapMemory(const Bdf& device, const GuestMemory& memory) override;
  absl::Status UnmapMemory(const Bdf& device, uint64_t guest_address, uint64_t size) override;
  absl::StatusOr<uint64_t> RegionSize(const Bdf& device, uint32_t region) override;
  absl::StatusOr<std::string> ReadRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                         size_t size) override;
  absl::Status WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                           const std::string& data) override;
  absl::Status ResetDevice(const Bdf& device) override;
  void Invalidate(const BindingKey& key, uint64_t address, uint64_t size,
                  InvalidateDone done) override;

  // Lets go of everything if the machine has nothing in the kernel; false otherwise.
  bool CloseIfIdle();
  // Lets go of everything, after the step that runs. Every later call is refused.
  void Close();

 private:
  using Outcome = std::function<std::optional<absl::Status>()>;
  struct Invalidation {
    BindingKey key;
    uint64_t address = 0;
    uint64_t size = 0;  // 0: everything of the key
    InvalidateDone done;
  };

  // The next functions want mutex_ to be held.

  // Has a task look for work.
  void Wake();
  // Waits until `outcome`, asked after each step, has a value.
  absl::Status WaitFor(std::unique_lock<std::mutex>& lock, const Outcome& outcome);
  void ScheduleRetry();
  // Takes the mappings that stage 2 no longer needs; the caller drops them unlocked.
  std::vector<GuestMapping> TakeUnusedMappings();

  // A task: reports, invalidates, does one step, and posts itself again while there is more.
  void Run();
  // False: the shim was closed meanwhile.
  bool DoStep(const Step& step);
  absl::Status DoInvalidate(const Invalidation& invalidation);
  absl::StatusOr<GuestMapping> MapHere(const GuestMemory& memory);
  // Remembers memory that stage 2 does not get; returns `problem`.
  absl::Status RecordMemory(const Bdf& device, const MemoryRegion& region,
                            const absl::Status& problem);
  // Takes the kernel objects away from all later calls, and refuses those that wait.
  void DropKernelObjects();

  const ShimEnvironment environment_;
  const std::string vm_uid_;

  // One call into the kernel objects at a time. Never held together with mutex_.
  std::mutex kernel_mutex_;
  std::unique_ptr<AddressSpace> address_space_;  // null once closed

  // Guards what follows; never held during a kernel call.
  std::mutex mutex_;
  std::condition_variable changed_;  // a step ended, or the shim closed
  ShimCore core_;
  bool running_ = false;  // a task is posted or runs
  bool closed_ = false;
  std::optional<absl::Time> alarm_;            // the earliest retry that the timer knows
  std::map<uint64_t, GuestMapping> mappings_;  // by address in this process
  std::vector<Invalidation> invalidations_;    // wait; oldest first
};

}  // namespace nestor::agent
