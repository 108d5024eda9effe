#include "tests/simulation/simulated_shim.h"

#include <array>
#include <cerrno>
#include <cstddef>

#include "agent/shim/step_executor.h"

namespace nestor::simulation {
namespace {

using agent::Bdf;
using agent::Step;

constexpr size_t kRemembered = 8;
constexpr size_t kMemorySize = 64 * 1024;
// Where a process has its guests' memory mapped, one after the other: what is still used is not
// mapped over. What is in it is not looked at.
constexpr uint64_t kMappings = 64;
struct alignas(4096) Memory {
  std::array<std::byte, kMemorySize> bytes;
};

agent::MemoryRegion GuestMemory(uint64_t mapping) {
  static std::array<Memory, kMappings> memory;
  return {.guest_address = 0x100000,
          .size = kMemorySize,
          .user_address = reinterpret_cast<uint64_t>(memory[mapping % kMappings].bytes.data())};
}

std::string Describe(const v1::Result& result) {
  return absl::StrCat(result.uid(), " g", result.generation(), " ",
                      v1::Result::Outcome_Name(result.outcome()).substr(8),
                      result.has_failure() ? " " + result.failure().reason() : "");
}

}  // namespace

SimulatedShim::SimulatedShim(ShimWorld& world, std::string vm_name, std::string vm_uid)
    : world_(world),
      vm_name_(std::move(vm_name)),
      kernel_process_(world.kernel.CreateProcess()),
      syscalls_(*kernel_process_),
      backend_(syscalls_),
      address_space_(backend_.CreateAddressSpace().value()),
      core_({.vm_name = vm_name_,
             .vm_uid = std::move(vm_uid),
             .replace_has_gap = backend_.replace_has_gap(),
             .backoff = {},
             .seed = world.scheduler.choices().Below(1000)}),
      process_(world.scheduler) {}

SimulatedShim::~SimulatedShim() { process_.Kill(); }

absl::Status SimulatedShim::Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                                  const std::vector<v1::DesiredBinding>& bindings) {
  v1::Fence told = fence;
  if (world_.flaw == Flaw::kIgnoresFence) {
    const v1::Fence highest = core_.Inventory(world_.scheduler.Now()).fence;
    if (!highest.incarnation().empty()) told = highest;
  }
  const absl::Status status = core_.Apply(told, machine, bindings, world_.scheduler.Now());
  if (!status.ok()) {
    world_.scheduler.Note(world_.host, " ", vm_name_, " refuses: ", status.message());
    return status;
  }
  JudgeFence(fence);
  told_.push_back({fence, machine != nullptr ? std::optional(*machine) : std::nullopt, bindings});
  if (told_.size() > kRemembered) told_.pop_front();
  Wake();
  return absl::OkStatus();
}

void SimulatedShim::ReplayOldMessage() {
  if (told_.empty()) return;
  const Told old = told_.front();
  // Refused or not, the agent that said it is gone.
  Apply(old.fence, old.machine.has_value() ? &*old.machine : nullptr, old.bindings).IgnoreError();
}

void SimulatedShim::JudgeFence(const v1::Fence& fence) {
  const bool lower =
      !highest_.incarnation().empty() &&
      (fence.incarnation() != highest_.incarnation() || fence.epoch() < highest_.epoch() ||
       fence.head_revision() < highest_.head_revision());
  if (lower) {
    world_.judge.Violated("no effect from a lower fence",
                          absl::StrCat(vm_name_, " followed epoch ", fence.epoch(), " revision ",
                                       fence.head_revision(), " after epoch ", highest_.epoch(),
                                       " revision ", highest_.head_revision()));
  }
  highest_ = fence;
}

void SimulatedShim::Connect(const Bdf& device, Done done) {
  core_.PrepareMonitor(device);
  WaitFor([this, device] { return core_.AttachOutcome(device); },
          [this, device, done = std::move(done)](absl::Status status) {
            if (status.ok()) {
              auto instance =
                  core_.ConnectMonitor(device, world_.scheduler.NewUuid(), world_.scheduler.Now());
              status = instance.status();
              if (instance.ok()) instance_ = *instance;
              if (absl::IsAlreadyExists(status) && world_.flaw == Flaw::kOldBootLivesOn) {
                status = absl::OkStatus();
              }
            }
            Wake();
            done(std::move(status));
          });
}

void SimulatedShim::Disconnect(const Bdf& device) {
  if (world_.flaw == Flaw::kOldBootLivesOn) {
    instance_ = world_.scheduler.NewUuid();
    return;
  }
  core_.DisconnectMonitor(device, world_.scheduler.Now());
  Wake();
}

void SimulatedShim::Map(const Bdf& device, Done done) {
  const agent::MemoryRegion region = GuestMemory(mappings_++);
  absl::Status status = core_.MapMemory(device, region, world_.scheduler.Now());
  if (absl::IsAlreadyExists(status) && world_.flaw == Flaw::kOldBootLivesOn) {
    JudgeMapped();
    return done(absl::OkStatus());
  }
  if (!status.ok()) return done(std::move(status));
  WaitFor([this, device, region] { return core_.MapOutcome(device, region); },
          [this, done = std::move(done)](absl::Status outcome) {
            if (outcome.ok()) JudgeMapped();
            done(std::move(outcome));
          });
}

void SimulatedShim::Reset(const Bdf& device, Done done) {
  const std::string fresh = world_.scheduler.NewUuid();
  absl::Status status = core_.Reset(device, fresh, world_.scheduler.Now());
  if (!status.ok()) return done(status);
  instance_ = fresh;
  WaitFor([this, device] { return core_.ResetOutcome(device); },
          [this, done = std::move(done)](absl::Status outcome) {
            if (outcome.ok()) JudgeMapped();
            done(std::move(outcome));
          });
}

void SimulatedShim::Wake() {
  if (running_) return;
  running_ = true;
  process_.PostAfter(
      world_.scheduler.choices().Between(absl::Microseconds(10), absl::Microseconds(200)),
      [this] { Run(); });
}

void SimulatedShim::Run() {
  const std::optional<Step> step = core_.NextStep(world_.scheduler.Now());
  Report(core_.TakeReport());
  if (step.has_value()) return Do(*step);
  running_ = false;
  AnswerWaiting();
  ScheduleRetry();
}

void SimulatedShim::Do(const Step& step) {
  Choices& choices = world_.scheduler.choices();
  const bool slow = !world_.calm && choices.Percent(1);
  const absl::Duration before = slow
                                    ? choices.Between(absl::Seconds(1), absl::Seconds(15))
                                    : choices.Between(absl::Microseconds(5), absl::Milliseconds(2));
  if (world_.flaw == Flaw::kReportsTooEarly) ReportTooEarly(step);
  process_.PostAfter(before, [this, step] {
    Choices& later = world_.scheduler.choices();
    if (!world_.calm && later.Percent(4)) {
      const std::vector<int> errors = {EINTR, ENOMEM, EBUSY, EAGAIN, EIO};
      syscalls_.FailCall(1 + static_cast<int>(later.Below(4)), later.Among(errors));
    }
    agent::StepResult result = Execute(step);
    syscalls_.Reset();
    result.duration = absl::Microseconds(50);  // of virtual time, so that runs repeat
    world_.scheduler.Note(world_.host, " ", vm_name_, ": ", agent::ToString(step), " ",
                          result.status.ok() ? "done" : result.status.message());
    if (const auto* bind = std::get_if<agent::BindTable>(&step))
      bound_under_[bind->key] = instance_;
    if (const auto* replace = std::get_if<agent::ReplaceTable>(&step)) {
      bound_under_[replace->key] = instance_;
    }
    process_.PostAfter(later.Between(absl::Microseconds(5), absl::Microseconds(500)),
                       [this, result] { Finish(result); });
  });
}

agent::StepResult SimulatedShim::Execute(const Step& step) {
  const auto given_up = given_up_.find(step);
  if (given_up != given_up_.end()) {
    return {.status = given_up->second, .duration = {}, .capabilities = {}};
  }
  agent::StepResult result = agent::Execute(step, backend_, *address_space_);
  if (world_.flaw == Flaw::kNeverRetries && !result.status.ok()) given_up_[step] = result.status;
  return result;
}

void SimulatedShim::ReportTooEarly(const Step& step) {
  const auto* bind = std::get_if<agent::BindTable>(&step);
  const std::vector<v1::Result> known = core_.Inventory(world_.scheduler.Now()).bindings;
  if (bind == nullptr || known.empty()) return;
  v1::Result result = known.front();
  result.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  result.set_device(bind->key.device);
  result.set_pasid(bind->key.pasid);
  result.set_programmed_root(bind->table.root);
  Report({.virtual_machines = {}, .bindings = {result}});
}

void SimulatedShim::Finish(const agent::StepResult& result) {
  core_.FinishStep(result, world_.scheduler.Now());
  AnswerWaiting();
  Run();
}

void SimulatedShim::WaitFor(std::function<std::optional<absl::Status>()> outcome, Done done) {
  waiting_.push_back({std::move(outcome), std::move(done)});
  Wake();
}

void SimulatedShim::AnswerWaiting() {
  std::vector<std::pair<Done, absl::Status>> answered;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    std::optional<absl::Status> status = waiting.outcome();
    if (!status.has_value()) return false;
    answered.emplace_back(std::move(waiting.done), *std::move(status));
    return true;
  });
  for (auto& [done, status] : answered) done(std::move(status));
}

void SimulatedShim::ScheduleRetry() {
  const std::optional<absl::Time> retry_at = core_.NextRetry();
  if (!retry_at.has_value()) return;
  process_.PostAfter(std::max(absl::ZeroDuration(), *retry_at - world_.scheduler.Now()),
                     [this] { Wake(); });
}

void SimulatedShim::Report(agent::ShimReport report) {
  if (report.virtual_machines.empty() && report.bindings.empty()) return;
  JudgeReport(report);
  for (const v1::Result& result : report.bindings) {
    world_.scheduler.Note(world_.host, " ", vm_name_, " answers ", Describe(result));
  }
  world_.report(std::move(report));
}

uint64_t SimulatedShim::RootInKernel(const Bdf& device, uint32_t pasid) const {
  for (const kernel::SimBinding& binding : world_.kernel.Bindings()) {
    if (binding.bdf == device && binding.pasid == pasid) return binding.stage1.root;
  }
  return 0;
}

void SimulatedShim::JudgeReport(const agent::ShimReport& report) {
  for (const v1::Result& result : report.bindings) {
    if (result.outcome() != v1::Result::OUTCOME_PROGRAMMED) continue;
    const uint64_t root = RootInKernel(result.device(), result.pasid());
    if (root == result.programmed_root()) continue;
    world_.judge.Violated(
        "PROGRAMMED only while the kernel has it",
        absl::StrCat(Describe(result), " on ", world_.host, ", where ", result.device(), " pasid ",
                     result.pasid(), " walks 0x", absl::Hex(root)));
  }
}

void SimulatedShim::JudgeMapped() {
  for (const auto& [key, boot] : bound_under_) {
    if (boot == instance_ || RootInKernel(key.device, key.pasid) == 0) continue;
    world_.judge.Violated("no binding of one guest's boot is live in another",
                          absl::StrCat(vm_name_, " ", key.device, " pasid ", key.pasid,
                                       " was bound under ", boot, " and ", instance_, " runs"));
  }
}

}  // namespace nestor::simulation
