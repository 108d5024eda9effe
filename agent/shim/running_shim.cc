#include "agent/shim/running_shim.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/unique_fd.h"
#include "agent/shim/step_executor.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

absl::Status Closed() { return absl::UnavailableError("the owner of this machine has ended"); }

absl::Status NotProgrammed(const BindingKey& key) {
  return WithReason(absl::FailedPreconditionError(
                        absl::StrCat("nothing is bound to PASID ", key.pasid, " of ", key.device)),
                    "NOT_PROGRAMMED");
}

absl::Status TooManyInvalidations() {
  return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                        Shim::kMaxInvalidations, " invalidations of this machine wait")),
                    "QUEUE_FULL");
}

// A random UUID (RFC 4122, version 4).
std::string NewInstance() {
  std::random_device random;
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%08x%04x", random(), random() & 0xffff,
                         random() & 0xfff, (random() & 0x3fff) | 0x8000, random(),
                         random() & 0xffff);
}

}  // namespace

RunningShim::RunningShim(const ShimEnvironment& environment, ShimCoreOptions options,
                         std::unique_ptr<AddressSpace> address_space)
    : environment_(environment),
      vm_uid_(options.vm_uid),
      address_space_(std::move(address_space)),
      core_(std::move(options)) {}

absl::Status RunningShim::Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                                const std::vector<v1::DesiredBinding>& bindings) {
  std::lock_guard lock(mutex_);
  if (closed_) return Closed();
  RETURN_IF_ERROR(core_.Apply(fence, machine, bindings, environment_.clock.Now()));
  Wake();
  return absl::OkStatus();
}

ShimInventory RunningShim::Inventory() {
  std::lock_guard lock(mutex_);
  return core_.Inventory(environment_.clock.Now());
}

absl::StatusOr<std::string> RunningShim::VmmConnected(const Bdf& device) {
  const std::string fresh_instance = NewInstance();
  std::unique_lock lock(mutex_);
  core_.PrepareMonitor(device);
  RETURN_IF_ERROR(WaitFor(lock, [&] { return core_.AttachOutcome(device); }));
  absl::StatusOr<std::string> instance =
      core_.ConnectMonitor(device, fresh_instance, environment_.clock.Now());
  Wake();
  return instance;
}

void RunningShim::VmmDisconnected(const Bdf& device) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  core_.DisconnectMonitor(device, environment_.clock.Now());
  Wake();
}

absl::Status RunningShim::MapMemory(const Bdf& device, const GuestMemory& memory) {
  const kernel::UniqueFd fd(environment_.syscalls, memory.fd);
  MemoryRegion region{.guest_address = memory.guest_address,
                      .size = memory.size,
                      .user_address = 0,
                      .writable = memory.writable};
  if (!fd.valid() || !memory.writable) return RecordMemory(device, region, absl::OkStatus());
  absl::StatusOr<GuestMapping> mapping = MapHere(memory);
  if (!mapping.ok()) return RecordMemory(device, region, mapping.status());
  region.user_address = mapping->address();

  std::unique_lock lock(mutex_);
  if (closed_) return Closed();
  RETURN_IF_ERROR(core_.MapMemory(device, region, environment_.clock.Now()));
  mappings_.emplace(region.user_address, *std::move(mapping));
  return WaitFor(lock, [&] { return core_.MapOutcome(device, region); });
}

absl::Status RunningShim::RecordMemory(const Bdf& device, const MemoryRegion& region,
                                       const absl::Status& problem) {
  std::lock_guard lock(mutex_);
  if (closed_) return Closed();
  RETURN_IF_ERROR(core_.RecordMemory(device, region, problem, environment_.clock.Now()));
  Wake();
  return problem;
}

absl::StatusOr<GuestMapping> RunningShim::MapHere(const GuestMemory& memory) {
  const int64_t address = environment_.syscalls.Mmap(memory.size, PROT_READ | PROT_WRITE,
                                                     MAP_SHARED, memory.fd, memory.offset);
  if (address < 0) {
    return KernelErrorStatus({"mmap",
                              absl::StrCat("guest memory at 0x", absl::Hex(memory.guest_address),
                                           " of 0x", absl::Hex(memory.size), " bytes"),
                              static_cast<int>(-address)});
  }
  return GuestMapping(environment_.syscalls, static_cast<uint64_t>(address), memory.size);
}

absl::Status RunningShim::UnmapMemory(const Bdf& device, uint64_t guest_address, uint64_t size) {
  std::unique_lock lock(mutex_);
  if (closed_) return Closed();
  ASSIGN_OR_RETURN(const MemoryRegion region,
                   core_.UnmapMemory(device, guest_address, size, environment_.clock.Now()));
  return WaitFor(lock, [&] { return core_.UnmapOutcome(device, region); });
}

absl::StatusOr<uint64_t> RunningShim::RegionSize(const Bdf& device, uint32_t region) {
  std::lock_guard lock(kernel_mutex_);
  if (address_space_ == nullptr) return Closed();
  return address_space_->RegionSize(device, region);
}

absl::StatusOr<std::string> RunningShim::ReadRegion(const Bdf& device, uint32_t region,
                                                    uint64_t offset, size_t size) {
  std::lock_guard lock(kernel_mutex_);
  if (address_space_ == nullptr) return Closed();
  std::string data(size, '\0');
  ASSIGN_OR_RETURN(const size_t moved,
                   address_space_->ReadRegion(device, region, offset, data.data(), size));
  data.resize(moved);
  return data;
}

absl::Status RunningShim::WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                      const std::string& data) {
  std::lock_guard lock(kernel_mutex_);
  if (address_space_ == nullptr) return Closed();
  ASSIGN_OR_RETURN(const size_t moved,
                   address_space_->WriteRegion(device, region, offset, data.data(), data.size()));
  if (moved == data.size()) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat("only ", moved, " of ", data.size(), " bytes were written"));
}

absl::Status RunningShim::ResetDevice(const Bdf& device) {
  const std::string fresh_instance = NewInstance();
  std::unique_lock lock(mutex_);
  if (closed_) return Closed();
  RETURN_IF_ERROR(core_.Reset(device, fresh_instance, environment_.clock.Now()));
  return WaitFor(lock, [&] { return core_.ResetOutcome(device); });
}

void RunningShim::Invalidate(const BindingKey& key, uint64_t address, uint64_t size,
                             InvalidateDone done) {
  absl::Status refusal;
  {
    std::lock_guard lock(mutex_);
    if (closed_) {
      refusal = Closed();
    } else if (invalidations_.size() >= kMaxInvalidations) {
      refusal = TooManyInvalidations();
    } else {
      invalidations_.push_back({key, address, size, std::move(done)});
      return Wake();
    }
  }
  done(refusal);
}

absl::Status RunningShim::DoInvalidate(const Invalidation& invalidation) {
  std::lock_guard lock(kernel_mutex_);
  if (address_space_ == nullptr) return Closed();
  const BindingKey& key = invalidation.key;
  if (!address_space_->state().bindings.contains(key)) return NotProgrammed(key);
  return address_space_->Invalidate(key, invalidation.address, invalidation.size);
}

void RunningShim::Wake() {
  if (running_ || closed_) return;
  running_ = true;
  environment_.workers.Post([self = shared_from_this()] { self->Run(); });
}

absl::Status RunningShim::WaitFor(std::unique_lock<std::mutex>& lock, const Outcome& outcome) {
  Wake();
  std::optional<absl::Status> status;
  changed_.wait(lock, [&] {
    if (closed_) {
      status = Closed();
    } else {
      status = outcome();
    }
    return status.has_value();
  });
  return *status;
}

void RunningShim::Run() {
  std::vector<GuestMapping> unused;  // goes after the lock
  std::unique_lock lock(mutex_);
  if (closed_) return;
  unused = TakeUnusedMappings();
  const std::optional<Step> step = core_.NextStep(environment_.clock.Now());
  ShimReport report = core_.TakeReport();
  const std::vector<Invalidation> invalidations = std::exchange(invalidations_, {});
  const bool has_report = !report.virtual_machines.empty() || !report.bindings.empty();
  if (!step.has_value() && !has_report && invalidations.empty()) {
    running_ = false;
    ScheduleRetry();
    return;
  }
  lock.unlock();
  if (has_report) environment_.report(vm_uid_, std::move(report));
  for (const Invalidation& invalidation : invalidations) {
    invalidation.done(DoInvalidate(invalidation));
  }
  if (step.has_value() && !DoStep(*step)) return;
  // Behind the other shims.
  environment_.workers.Post([self = shared_from_this()] { self->Run(); });
}

bool RunningShim::DoStep(const Step& step) {
  std::unique_lock kernel_lock(kernel_mutex_);
  if (address_space_ == nullptr) return false;
  const StepResult result = Execute(step, environment_.backend, *address_space_);
  kernel_lock.unlock();
  if (environment_.on_step) environment_.on_step(step, result);
  {
    std::lock_guard lock(mutex_);
    core_.FinishStep(result, environment_.clock.Now());
  }
  changed_.notify_all();
  return true;
}

void RunningShim::ScheduleRetry() {
  const std::optional<absl::Time> retry_at = core_.NextRetry();
  if (!retry_at.has_value() || (alarm_.has_value() && *alarm_ <= *retry_at)) return;
  alarm_ = retry_at;
  const absl::Duration delay = std::max(absl::ZeroDuration(), *retry_at - environment_.clock.Now());
  environment_.timer.PostAfter(delay, [weak = weak_from_this()] {
    const std::shared_ptr<RunningShim> self = weak.lock();
    if (self == nullptr) return;
    std::lock_guard lock(self->mutex_);
    self->alarm_.reset();
    self->Wake();
  });
}

std::vector<GuestMapping> RunningShim::TakeUnusedMappings() {
  std::vector<GuestMapping> unused;
  for (auto it = mappings_.begin(); it != mappings_.end();) {
    if (core_.UsesMemory(it->first)) {
      ++it;
    } else {
      unused.push_back(std::move(it->second));
      it = mappings_.erase(it);
    }
  }
  return unused;
}

bool RunningShim::CloseIfIdle() {
  {
    std::lock_guard lock(mutex_);
    if (!core_.HoldsNothing()) return false;
    closed_ = true;
  }
  changed_.notify_all();
  DropKernelObjects();
  return true;
}

void RunningShim::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  DropKernelObjects();
}

void RunningShim::DropKernelObjects() {
  std::map<uint64_t, GuestMapping> mappings;
  std::vector<Invalidation> invalidations;
  std::unique_ptr<AddressSpace> address_space;
  {
    std::lock_guard lock(kernel_mutex_);
    address_space = std::move(address_space_);
  }
  {
    std::lock_guard lock(mutex_);
    mappings.swap(mappings_);
    invalidations.swap(invalidations_);
  }
  for (const Invalidation& invalidation : invalidations) invalidation.done(Closed());
}

}  // namespace nestor::agent
