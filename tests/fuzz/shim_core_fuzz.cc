// The agent's end of Sync, told any history of intents, monitors and kernel errors: what it
// asks of the kernel is possible, what it says is so, and in the end nothing is left behind.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/core/plan.h"
#include "agent/shim/shim_core.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using agent::AddressSpaceState;
using agent::Bdf;
using agent::MemoryRegion;
using agent::ShimCore;
using agent::Step;

constexpr char kVmUid[] = "vm-uid";
constexpr size_t kBindings = 6;
constexpr size_t kPasids = 4;  // fewer than bindings: some must conflict
constexpr int64_t kLastGeneration = 1'000'000;
constexpr int kMaxSteps = 10'000;

Bdf DeviceOf(size_t index) { return absl::StrCat("0000:3b:00.", index % 2); }
std::string BindingUid(size_t index) { return absl::StrCat("b", index); }

MemoryRegion RegionOf(size_t index) {
  return {.guest_address = 0x10000 * index,
          .size = 0x10000,
          .user_address = 0x7000'0000 + 0x10000 * index};
}

v1::Fence FenceOf(int64_t epoch, int64_t head_revision) {
  v1::Fence fence;
  fence.set_incarnation("store-1");
  fence.set_epoch(epoch);
  fence.set_head_revision(head_revision);
  return fence;
}

std::string Print(const agent::ShimInventory& inventory) {
  std::string text = absl::StrCat(inventory.fence.ShortDebugString(), "\n",
                                  inventory.virtual_machine.ShortDebugString());
  for (const v1::Result& binding : inventory.bindings) {
    absl::StrAppend(&text, "\n", binding.ShortDebugString());
  }
  return text;
}

// A shim whose kernel does what the input says.
class Machine {
 public:
  explicit Machine(bool replace_has_gap)
      : core_({.vm_name = "projects/p/virtualMachines/v",
               .vm_uid = kVmUid,
               .replace_has_gap = replace_has_gap,
               .backoff = {},
               .seed = 0}) {}

  void Act(FuzzInput& input) {
    switch (input.Below(10)) {
      case 0:
        TellMachine(input);
        break;
      case 1:
      case 2:
        TellBindings(input);
        break;
      case 3:
        Monitor(input);
        break;
      case 4:
        Memory(input);
        break;
      case 5:
        (void)core_.Reset(DeviceOf(input.Below(2)), absl::StrCat("boot-", ++boots_), now_);
        break;
      case 6:
        now_ += absl::Milliseconds(input.Number<uint16_t>());
        break;
      default:
        Work(input);
    }
    CheckAnswers();
  }

  // All is to go, and every kernel call succeeds from now on.
  void Finish() {
    if (running_.has_value()) FinishStep(absl::OkStatus());
    CheckAnswers();
    for (size_t i = 0; i < 2; ++i) core_.DisconnectMonitor(DeviceOf(i), now_);
    const v1::DesiredVirtualMachine machine = DesiredMachine(kLastGeneration, true);
    std::vector<v1::DesiredBinding> bindings;
    for (const auto& [uid, told] : told_) {
      v1::DesiredBinding& binding = bindings.emplace_back(told);
      binding.set_generation(kLastGeneration);
      binding.set_absent(true);
      told_[uid] = binding;
    }
    absent_.clear();
    FUZZ_CHECK(
        core_.Apply(FenceOf(kLastGeneration, kLastGeneration), &machine, bindings, now_).ok());
    for (int i = 0; i < kMaxSteps; ++i) {
      if (BeginStep()) {
        FinishStep(absl::OkStatus());
      } else if (core_.NextRetry().has_value()) {
        now_ = std::max(now_, *core_.NextRetry());
      } else {
        break;
      }
      CheckAnswers();
    }
    CheckAnswers();
    FUZZ_CHECK(core_.HoldsNothing());
    FUZZ_CHECK(core_.Inventory(now_).bindings.empty());
    for (const auto& [uid, told] : told_) FUZZ_CHECK(absent_.contains(uid));
  }

 private:
  static v1::DesiredVirtualMachine DesiredMachine(int64_t generation, bool absent) {
    v1::DesiredVirtualMachine machine;
    machine.set_uid(kVmUid);
    machine.set_generation(generation);
    machine.set_absent(absent);
    return machine;
  }

  // Sometimes with a fence that is too old, or for another machine: then nothing changes.
  void Apply(FuzzInput& input, const v1::DesiredVirtualMachine* machine,
             std::vector<v1::DesiredBinding> bindings) {
    // The first fence is taken whatever it says.
    const size_t flaw = applied_revision_ > 0 ? input.Below(16) : 0;
    const std::string before = Print(core_.Inventory(now_));
    v1::Fence fence = FenceOf(epoch_, ++head_revision_);
    if (flaw == 1) fence.set_epoch(applied_epoch_ - 1);
    if (flaw == 2) fence.set_head_revision(applied_revision_ - 1);
    if (flaw == 3) fence.set_incarnation("store-2");
    if (flaw == 4) bindings.emplace_back().set_vm_uid("vm-other");
    const absl::Status status = core_.Apply(fence, machine, bindings, now_);
    FUZZ_CHECK(status.ok() == (flaw == 0 || flaw > 4));
    if (!status.ok()) {
      FUZZ_CHECK(Print(core_.Inventory(now_)) == before);
      return;
    }
    applied_epoch_ = epoch_;
    applied_revision_ = head_revision_;
    for (const v1::DesiredBinding& binding : bindings) {
      v1::DesiredBinding& told = told_[binding.uid()];
      if (binding.generation() >= told.generation()) told = binding;
    }
  }

  void TellMachine(FuzzInput& input) {
    if (input.Below(8) == 1) ++epoch_;
    const int64_t generation = input.Bool() ? ++machine_generation_ : machine_generation_;
    v1::DesiredVirtualMachine machine = DesiredMachine(generation, false);
    const size_t devices = input.Below(4);
    for (size_t i = 0; i < 2; ++i) {
      if ((devices & 1 << i) != 0) machine.add_devices(DeviceOf(i));
    }
    Apply(input, &machine, {});
  }

  void TellBindings(FuzzInput& input) {
    std::vector<v1::DesiredBinding> bindings;
    for (size_t count = 1 + input.Below(3); count > 0; --count) {
      const size_t index = input.Below(kBindings);
      v1::DesiredBinding& binding = bindings.emplace_back();
      binding.set_uid(BindingUid(index));
      binding.set_vm_uid(kVmUid);
      binding.set_device(DeviceOf(index));
      binding.set_pasid(static_cast<uint32_t>(index % kPasids));
      binding.set_generation(generations_[index] += input.Below(2));
      binding.set_absent(input.Below(4) == 1);
      binding.set_allow_translation_gap(input.Bool());
      v1::PageTable& table = *binding.mutable_page_table();
      table.set_format(v1::PageTable::FORMAT_VTD_S1);
      table.set_root(0x1000 * (1 + input.Below(3)));
      table.set_address_width(48);
    }
    Apply(input, nullptr, bindings);
  }

  void Monitor(FuzzInput& input) {
    const Bdf device = DeviceOf(input.Below(2));
    if (input.Below(3) == 1) return core_.DisconnectMonitor(device, now_);
    core_.PrepareMonitor(device);
    (void)core_.ConnectMonitor(device, absl::StrCat("boot-", ++boots_), now_);
  }

  void Memory(FuzzInput& input) {
    const Bdf device = DeviceOf(input.Below(2));
    const MemoryRegion region = RegionOf(input.Below(3));
    switch (input.Below(4)) {
      case 0:
        (void)core_.UnmapMemory(device, region.guest_address, region.size, now_);
        break;
      case 1:
        (void)core_.RecordMemory(device, region, absl::ResourceExhaustedError("memlock"), now_);
        break;
      default:
        (void)core_.MapMemory(device, region, now_);
    }
  }

  // Ends the step that runs, or begins the next: events may come between the two.
  void Work(FuzzInput& input) {
    if (!running_.has_value()) {
      BeginStep();
      return;
    }
    static constexpr int kErrors[] = {0, 0, 0, EBUSY, EINVAL, ENOSPC, ENODEV, ENOTTY};
    const int error = kErrors[input.Below(std::size(kErrors))];
    FinishStep(error == 0 ? absl::OkStatus() : agent::KernelErrorStatus({"call", "object", error}));
  }

  bool BeginStep() {
    running_ = core_.NextStep(now_);
    begun_for_ = Instance();
    if (running_.has_value()) {
      FUZZ_CHECK(IsPossible(*running_, core_.held()));
    } else if (!core_.NextRetry().has_value()) {
      CheckInstances();
    }
    return running_.has_value();
  }

  // With nothing left to do, no guest's page table has outlived the guest.
  void CheckInstances() const {
    for (const auto& [key, table] : core_.held().bindings) {
      FUZZ_CHECK(!Instance().empty() && instances_.at(key) == Instance());
    }
  }
  std::string Instance() const { return core_.Inventory(now_).virtual_machine.vm_instance(); }
  void NoteInstance() {
    if (const auto* bind = std::get_if<agent::BindTable>(&*running_)) {
      instances_[bind->key] = begun_for_;
    } else if (const auto* replace = std::get_if<agent::ReplaceTable>(&*running_)) {
      instances_[replace->key] = begun_for_;
    }
  }

  void FinishStep(const absl::Status& status) {
    AddressSpaceState expected = core_.held();
    if (status.ok()) {
      ApplyStep(*running_, &expected);
      NoteInstance();
    }
    running_.reset();
    core_.FinishStep({.status = status,
                      .duration = absl::Milliseconds(1),
                      .capabilities = {.granularity = agent::NestGranularity::kPasid,
                                       .pasid_bits = 20,
                                       .address_width = 48,
                                       .reason = "",
                                       .message = ""}},
                     now_);
    FUZZ_CHECK(core_.held() == expected);
  }

  // Answers are about what was told, and PROGRAMMED means that the kernel has it.
  void CheckAnswers() {
    for (const v1::Result& answer : core_.TakeReport().bindings) {
      const auto told = told_.find(answer.uid());
      FUZZ_CHECK(told != told_.end() && answer.generation() <= told->second.generation());
      if (answer.outcome() == v1::Result::OUTCOME_ABSENT) absent_.insert(answer.uid());
      if (answer.outcome() == v1::Result::OUTCOME_PROGRAMMED) CheckProgrammed(answer);
    }
  }
  void CheckProgrammed(const v1::Result& answer) const {
    const auto& bindings = core_.held().bindings;
    const auto held = bindings.find({answer.device(), answer.pasid()});
    FUZZ_CHECK(held != bindings.end() && held->second.root == answer.programmed_root());
  }

  ShimCore core_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  std::optional<Step> running_;
  std::string begun_for_;                               // the vm_instance when it began
  std::map<agent::BindingKey, std::string> instances_;  // for which each was bound
  int boots_ = 0;
  int64_t epoch_ = 2;
  int64_t head_revision_ = 1;
  int64_t applied_epoch_ = 0;
  int64_t applied_revision_ = 0;  // 0: none yet
  int64_t machine_generation_ = 1;
  int64_t generations_[kBindings] = {1, 1, 1, 1, 1, 1};
  std::map<std::string, v1::DesiredBinding> told_;
  std::set<std::string> absent_;
};

}  // namespace

// A list of actions.
void FuzzShimCore(absl::string_view bytes) {
  FuzzInput input(bytes.substr(0, 4096));
  Machine machine(/*replace_has_gap=*/input.Bool());
  while (!input.empty()) machine.Act(input);
  machine.Finish();
}

}  // namespace nestor::fuzz
