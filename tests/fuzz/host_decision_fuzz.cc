// The server's end of Sync, told any history of changes, answers and new sessions: the
// window, order and generations of what it sends, and that it comes to an end.
#include <algorithm>
#include <compare>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "server/core/host_decision.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using server::HostDecision;
using server::HostEffects;
using server::HostIntent;

constexpr size_t kMachines = 4;
constexpr size_t kBindings = 250;  // several windows

struct Version {
  int64_t generation = 0;
  bool absent = false;
  auto operator<=>(const Version&) const = default;
};
using Versions = std::map<std::string, Version>;

std::string MachineUid(size_t index) { return absl::StrCat("m", index % kMachines); }
std::string BindingUid(size_t index) { return absl::StrCat("b", index); }
std::string MachineOf(size_t binding) { return MachineUid(binding); }

v1::Fence FenceOf(int64_t epoch) {
  v1::Fence fence;
  fence.set_incarnation("store-1");
  fence.set_epoch(epoch);
  fence.set_head_revision(1);
  return fence;
}

// One host: what the store intends, what its agent holds, and the session between the two.
class Host {
 public:
  Host() { Connect(); }

  // A new generation of a binding, or its end.
  void ChangeBinding(size_t index, bool absent, HostIntent* intent) {
    Advance(&bindings_[BindingUid(index)], absent);
    AddBinding(index, intent);
  }
  void ChangeMachine(size_t index, bool absent, HostIntent* intent) {
    Advance(&machines_[MachineUid(index)], absent);
    AddMachine(MachineUid(index), intent);
  }
  void Tell(HostIntent intent) { Take(decision_.Change(std::move(intent), ++head_revision_)); }

  // The agent restarts, or its stream breaks: what it had not answered is lost.
  void Connect() {
    decision_ = HostDecision(FenceOf(++epoch_));
    last_seq_ = 0;
    on_their_way_.clear();
    sent_.clear();
    told_ = held_;
    v1::Hello hello;
    HostIntent intent;
    for (const auto& [uid, version] : machines_) AddMachine(uid, &intent);
    for (size_t i = 0; i < kBindings; ++i) {
      if (bindings_.contains(BindingUid(i))) AddBinding(i, &intent);
    }
    for (const auto& [uid, version] : held_) {
      if (uid[0] == 'm') {
        v1::HeldVirtualMachine& machine = *hello.add_held_virtual_machines();
        machine.set_uid(uid);
        machine.set_generation(version.generation);
      } else {
        *hello.add_held_bindings() = BindingAnswer(uid, version);
      }
    }
    std::vector<v1::Orphan> orphans;
    Take(decision_.Connect(hello, std::move(intent), &orphans));
    FUZZ_CHECK(orphans.empty());  // a binding is purged only when the agent is rid of it
  }

  // The agent answers the oldest message.
  void Answer() {
    if (on_their_way_.empty()) return;
    const v1::Desired desired = std::move(on_their_way_.front());
    on_their_way_.pop_front();
    v1::Results results;
    results.set_acked_seq(desired.delivery_seq());
    for (const auto& machine : desired.virtual_machines()) {
      Hold(machine.uid(), {machine.generation(), machine.absent()});
      v1::VirtualMachineResult& result = *results.add_virtual_machines();
      result.set_uid(machine.uid());
      result.set_generation(machine.generation());
      result.set_absent(machine.absent());
    }
    for (const auto& binding : desired.bindings()) {
      const Version version{binding.generation(), binding.absent()};
      Hold(binding.uid(), version);
      *results.add_bindings() = BindingAnswer(binding.uid(), version);
    }
    auto effects = decision_.Answer(results);
    FUZZ_CHECK(effects.ok());
    Take(*std::move(effects));
  }

  // An answer that nobody asked for. One that cannot be is refused whole.
  void AnswerAnything(const v1::Results& results, bool possible) {
    const size_t dirty = decision_.dirty();
    const size_t in_flight = decision_.in_flight();
    auto effects = decision_.Answer(results);
    FUZZ_CHECK(effects.ok() == possible);
    if (effects.ok()) return Take(*std::move(effects));
    FUZZ_CHECK(ErrorReason(effects.status()) == "PROTOCOL_ERROR");
    FUZZ_CHECK(decision_.dirty() == dirty && decision_.in_flight() == in_flight);
  }

  // The newest that the session told of `uid`, and one before it.
  Version Told(const std::string& uid) const {
    const auto found = told_.find(uid);
    return found == told_.end() ? Version() : found->second;
  }
  int64_t last_seq() const { return last_seq_; }
  bool is_idle() const { return on_their_way_.empty(); }

  // Nothing waits, and the agent holds the newest of everything.
  void CheckConverged() const {
    FUZZ_CHECK(decision_.dirty() == 0 && decision_.in_flight() == 0);
    for (const Versions* versions : {&machines_, &bindings_}) {
      for (const auto& [uid, version] : *versions) FUZZ_CHECK(Told(uid) >= version);
    }
  }

 private:
  static void Advance(Version* version, bool absent) {
    if (version->absent) return;  // a uid does not come back
    *version = {version->generation + (absent && version->generation > 0 ? 0 : 1), absent};
  }
  void AddMachine(const std::string& uid, HostIntent* intent) const {
    v1::DesiredVirtualMachine& machine = intent->virtual_machines.emplace_back();
    machine.set_uid(uid);
    machine.set_generation(machines_.at(uid).generation);
    machine.set_absent(machines_.at(uid).absent);
  }
  void AddBinding(size_t index, HostIntent* intent) const {
    const Version version = bindings_.at(BindingUid(index));
    v1::DesiredBinding& binding = intent->bindings.emplace_back();
    binding.set_uid(BindingUid(index));
    binding.set_vm_uid(MachineOf(index));
    binding.set_generation(version.generation);
    binding.set_absent(version.absent);
  }
  static v1::Result BindingAnswer(const std::string& uid, Version version) {
    v1::Result result;
    result.set_uid(uid);
    result.set_generation(version.generation);
    result.set_outcome(version.absent ? v1::Result::OUTCOME_ABSENT
                                      : v1::Result::OUTCOME_PROGRAMMED);
    if (!version.absent) result.set_device("0000:3b:00.0");
    return result;
  }
  void Hold(const std::string& uid, Version version) {
    if (version.absent) {
      held_.erase(uid);
    } else {
      held_[uid] = version;
    }
  }

  // What is sent keeps the rules of the protocol.
  void Take(HostEffects effects) {
    for (v1::SyncResponse& message : effects.send) {
      FUZZ_CHECK(message.has_desired());
      v1::Desired& desired = *message.mutable_desired();
      FUZZ_CHECK(desired.delivery_seq() == ++last_seq_);
      FUZZ_CHECK(desired.fence().epoch() == epoch_);
      FUZZ_CHECK(desired.fence().head_revision() <= head_revision_);
      for (const auto& machine : desired.virtual_machines()) {
        Send(machine.uid(), {machine.generation(), machine.absent()}, machines_);
      }
      for (const auto& binding : desired.bindings()) {
        Send(binding.uid(), {binding.generation(), binding.absent()}, bindings_);
        // It never overtakes its machine.
        const auto machine = machines_.find(binding.vm_uid());
        FUZZ_CHECK(machine == machines_.end() || Told(machine->first) >= machine->second);
      }
      on_their_way_.push_back(std::move(desired));
    }
    FUZZ_CHECK(decision_.in_flight() <= HostDecision::kWindow);
  }
  // The newest, and never twice.
  void Send(const std::string& uid, Version version, const Versions& intended) {
    FUZZ_CHECK(intended.at(uid) == version);
    const auto [sent, is_first] = sent_.try_emplace(uid, version);
    FUZZ_CHECK(is_first || sent->second < version);
    sent->second = version;
    told_[uid] = std::max(Told(uid), version);
  }

  HostDecision decision_{v1::Fence()};
  int64_t epoch_ = 0;
  int64_t head_revision_ = 1;
  int64_t last_seq_ = 0;
  Versions machines_;  // intended
  Versions bindings_;
  Versions held_;  // by the agent
  Versions told_;  // held at Hello, or sent since
  Versions sent_;  // in this session
  std::deque<v1::Desired> on_their_way_;
};

void ChangeMany(FuzzInput& input, Host* host) {
  const size_t first = input.Below(kBindings);
  const size_t count = input.Below(kBindings);
  const bool absent = input.Bool();
  HostIntent intent;
  for (size_t i = first; i < std::min(first + count, kBindings); ++i) {
    host->ChangeBinding(i, absent, &intent);
  }
  host->Tell(std::move(intent));
}

void ChangeMachine(FuzzInput& input, Host* host) {
  HostIntent intent;
  const size_t index = input.Below(kMachines);
  host->ChangeMachine(index, input.Bool(), &intent);
  if (input.Bool()) host->ChangeBinding(index, input.Bool(), &intent);
  host->Tell(std::move(intent));
}

// Answers about what was told before, in any order and as often as one likes, and answers
// that cannot be.
void AnswerAnything(FuzzInput& input, Host* host) {
  v1::Results results;
  const int8_t ahead = input.Number<int8_t>();
  results.set_acked_seq(host->last_seq() + ahead);
  bool possible = ahead <= 0 && host->last_seq() + ahead >= 0;
  for (size_t count = input.Below(4); count > 0; --count) {
    v1::Result& result = *results.add_bindings();
    result.set_uid(BindingUid(input.Below(kBindings)));
    const int64_t told = host->Told(result.uid()).generation;
    result.set_generation(input.Bool() ? told : std::max<int64_t>(told - 1, 0));
    // ABSENT is not said lightly: the server purges then.
    const auto outcome = static_cast<v1::Result::Outcome>(input.Below(9));
    result.set_outcome(outcome == v1::Result::OUTCOME_ABSENT ? v1::Result::OUTCOME_SUPERSEDED
                                                             : outcome);
    possible = possible && outcome != v1::Result::OUTCOME_UNSPECIFIED &&
               v1::Result::Outcome_IsValid(outcome);
  }
  if (input.Bool()) {
    results.add_bindings()->set_outcome(v1::Result::OUTCOME_FAILED);  // of nobody
    possible = false;
  }
  host->AnswerAnything(results, possible);
}

}  // namespace

// A list of actions.
void FuzzHostDecision(absl::string_view bytes) {
  FuzzInput input(bytes.substr(0, 4096));
  Host host;
  while (!input.empty()) {
    switch (input.Below(6)) {
      case 0:
        ChangeMany(input, &host);
        break;
      case 1:
        ChangeMachine(input, &host);
        break;
      case 2:
        AnswerAnything(input, &host);
        break;
      case 3:
        host.Connect();
        break;
      default:
        host.Answer();
    }
  }
  // Whatever came before, an agent that answers has soon been told everything.
  for (size_t i = 0; i < kMachines + kBindings && !host.is_idle(); ++i) host.Answer();
  host.CheckConverged();
}

}  // namespace nestor::fuzz
