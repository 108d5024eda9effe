#include "agent/shim/binding_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/shim/failure.h"
#include "api/support/proto_time.h"

namespace nestor::agent {
namespace {

// The answer for a generation of which the shim has nothing, or wants nothing.
v1::Result BareResult(const v1::DesiredBinding& desired, v1::Result::Outcome outcome,
                      absl::Time now) {
  v1::Result result;
  result.set_uid(desired.uid());
  result.set_generation(desired.generation());
  result.set_outcome(outcome);
  *result.mutable_time() = ToTimestamp(now);
  return result;
}

BindingRecord NewRecord(const v1::DesiredBinding& desired) {
  BindingRecord record;
  record.uid = desired.uid();
  record.key = KeyOf(desired);
  record.Renew(desired);
  return record;
}

bool WasNeverTried(const BindingRecord& record) {
  return record.attempts == 0 && !record.absent &&
         (record.phase == BindingPhase::kWaiting || record.phase == BindingPhase::kCleared);
}

bool SaysTheSame(const v1::Result& answer, const Refusal& refusal) {
  return answer.outcome() == refusal.outcome && answer.failure().kind() == refusal.failure.kind() &&
         answer.failure().reason() == refusal.failure.reason();
}

const char* EndMessage(const std::string& reason) {
  return reason == "VM_INSTANCE_GONE"
             ? "the guest that owned the page table ended; bind a root of the one that runs now"
             : "its device was taken from the virtual machine";
}

}  // namespace

void BindingTable::Take(const v1::DesiredBinding& desired, absl::Time now) {
  const auto known = records_.find(desired.uid());
  if (known == records_.end() && desired.absent()) {
    answers_.push_back(BareResult(desired, v1::Result::OUTCOME_ABSENT, now));
    return;
  }
  if (known == records_.end()) {
    records_.emplace(desired.uid(), NewRecord(desired));
    return;
  }
  const BindingRecord& record = known->second;
  if (desired.generation() < record.generation) {
    answers_.push_back(BareResult(desired, v1::Result::OUTCOME_SUPERSEDED, now));
  } else if (desired.generation() > record.generation || desired.absent() > record.absent) {
    Renew(known->second, desired, now);
  } else if (record.answer.outcome() != v1::Result::OUTCOME_UNSPECIFIED) {
    answers_.push_back(record.answer);
  }
}

void BindingTable::Renew(BindingRecord& record, const v1::DesiredBinding& desired, absl::Time now) {
  if (desired.generation() > record.generation && WasNeverTried(record)) {
    answers_.push_back(MakeResult(record, record.generation, v1::Result::OUTCOME_SUPERSEDED, now));
  }
  record.Renew(desired);
  if (record.absent) {
    deleting_.insert(record.uid);
  } else if (KeyOf(desired) != record.key) {
    Fail(record, PermanentFailure("FIELD_INVALID", "device and PASID of a binding never change"),
         now);
  }
}

void BindingTable::Judge(const MachineSituation& machine, absl::Time now) {
  for (auto& [uid, record] : records_) {
    if (!record.absent) JudgeOne(record, machine, now);
  }
}

void BindingTable::JudgeOne(BindingRecord& record, const MachineSituation& machine,
                            absl::Time now) {
  const bool lost_device = machine.known && !machine.devices.contains(record.key.device);
  if (lost_device && record.IsInKernel()) record.End("DEVICE_NOT_ATTACHED");
  const auto device = machine.devices.find(record.key.device);
  const bool unplugged = device != machine.devices.end() && device->second.unplugged;
  if (unplugged && record.phase == BindingPhase::kProgrammed) record.phase = BindingPhase::kWaiting;
  if (record.phase == BindingPhase::kProgrammed || record.phase == BindingPhase::kFinal) return;
  // What is held will be another thing when the call returns.
  if (record.attempt.has_value()) return;
  std::optional<Refusal> refusal = Claim(record);
  if (!refusal.has_value()) refusal = agent::Judge(record, machine);
  if (refusal.has_value()) {
    Refuse(record, *refusal, now);
  } else {
    Clear(record, now);
  }
}

std::optional<Refusal> BindingTable::Claim(const BindingRecord& record) {
  const std::string& owner = claims_.try_emplace(record.key, record.uid).first->second;
  if (owner == record.uid) return std::nullopt;
  const std::string message = absl::StrCat("PASID ", record.key.pasid, " of ", record.key.device,
                                           " belongs to the binding with uid ", owner);
  if (records_.at(owner).absent) {
    return Refusal{v1::Result::OUTCOME_ACCEPTED,
                   TransientFailure("PASID_CONFLICT", absl::StrCat(message, ", which is going"))};
  }
  return Refusal{v1::Result::OUTCOME_FAILED, PermanentFailure("PASID_CONFLICT", message)};
}

void BindingTable::Refuse(BindingRecord& record, const Refusal& refusal, absl::Time now) {
  const bool permanent = refusal.failure.kind() == v1::Failure::KIND_PERMANENT;
  record.phase = permanent ? BindingPhase::kFinal : BindingPhase::kWaiting;
  if (SaysTheSame(record.answer, refusal)) return;
  v1::Result result = MakeResult(record, record.generation, refusal.outcome, now);
  *result.mutable_failure() = refusal.failure;
  Answer(record, std::move(result));
}

void BindingTable::Clear(BindingRecord& record, absl::Time now) {
  const bool new_to_us = record.answer.outcome() == v1::Result::OUTCOME_UNSPECIFIED;
  if (new_to_us) {
    Answer(record, MakeResult(record, record.generation, v1::Result::OUTCOME_ACCEPTED, now));
  }
  record.phase = BindingPhase::kCleared;
  if (!record.held.has_value() || record.held->ending || record.held->table != record.table) return;
  // The kernel has this table already, and a call would only disturb it.
  record.phase = BindingPhase::kProgrammed;
  record.held->generation = record.generation;
  Answer(record, MakeResult(record, record.generation, v1::Result::OUTCOME_PROGRAMMED, now));
}

void BindingTable::EndDevice(const Bdf& device, const std::string& reason) {
  for (auto& [uid, record] : records_) {
    if (record.IsInKernel() && record.key.device == device) record.End(reason);
  }
}

void BindingTable::EndAll(const std::string& reason) {
  for (auto& [uid, record] : records_) {
    if (record.IsInKernel()) record.End(reason);
  }
}

std::map<BindingKey, PageTable> BindingTable::Wanted() const {
  std::map<BindingKey, PageTable> wanted;
  for (const auto& [uid, record] : records_) {
    if (const std::optional<PageTable> table = record.Wanted()) wanted.emplace(record.key, *table);
  }
  return wanted;
}

void BindingTable::BeginAttempt(const BindingKey& key, const std::string& vm_instance) {
  BindingRecord& record = Owner(key);
  record.attempt = BindingAttempt{record.generation, vm_instance};
  ++record.attempts;
}

bool BindingTable::Bound(const BindingKey& key, const PageTable& table, const CallTiming& timing,
                         absl::Time now) {
  BindingRecord& record = Owner(key);
  const BindingAttempt attempt = *std::exchange(record.attempt, std::nullopt);
  record.held = HeldBinding{table, attempt.generation, attempt.vm_instance, attempt.ending};
  if (record.absent || attempt.ending) return true;
  v1::Result result = MakeResult(record, attempt.generation, v1::Result::OUTCOME_PROGRAMMED, now);
  *result.mutable_duration() = ToProtoDuration(timing.duration);
  if (timing.left_gap) *result.mutable_translation_gap() = result.duration();
  if (attempt.generation != record.generation) {
    answers_.push_back(std::move(result));
    return true;
  }
  record.phase = BindingPhase::kProgrammed;
  Answer(record, std::move(result));
  return false;
}

bool BindingTable::HasEnded(const Bdf& device) const {
  return std::any_of(records_.begin(), records_.end(), [&](const auto& entry) {
    const BindingRecord& record = entry.second;
    return record.key.device == device && record.held.has_value() && record.held->ending;
  });
}

bool BindingTable::Unbound(const BindingKey& key, absl::Time now) {
  BindingRecord& record = Owner(key);
  const bool had_ended = record.held->ending;
  record.held.reset();
  if (record.absent) return had_ended;
  if (record.phase == BindingPhase::kFinal && !record.end_reason.empty()) {
    v1::Result result =
        MakeResult(record, record.generation, v1::Result::OUTCOME_NOT_PROGRAMMED, now);
    *result.mutable_failure() = PermanentFailure(record.end_reason, EndMessage(record.end_reason));
    Answer(record, std::move(result));
  }
  if (record.phase == BindingPhase::kWaiting &&
      record.answer.outcome() == v1::Result::OUTCOME_FAILED) {
    // Told while it still was in the kernel.
    const v1::Failure failure = record.answer.failure();
    v1::Result result = MakeResult(record, record.generation, v1::Result::OUTCOME_FAILED, now);
    *result.mutable_failure() = failure;
    Answer(record, std::move(result));
  }
  return had_ended || record.phase != BindingPhase::kFinal;
}

void BindingTable::BindFailed(const BindingKey& key, const v1::Failure& failure, bool lost,
                              absl::Time now) {
  BindingRecord& record = Owner(key);
  const BindingAttempt attempt = *std::exchange(record.attempt, std::nullopt);
  if (lost) record.held.reset();
  if (record.absent) return;
  if (attempt.generation != record.generation) {
    v1::Result result = MakeResult(record, attempt.generation, v1::Result::OUTCOME_FAILED, now);
    *result.mutable_failure() = failure;
    answers_.push_back(std::move(result));
    return;
  }
  if (!attempt.ending) {
    Fail(record, failure, now);
  } else if (!record.held.has_value()) {
    // It never was in the kernel, so nothing of it ended.
    record.phase = BindingPhase::kWaiting;
  }
}

void BindingTable::UnbindFailed(const BindingKey& key, const v1::Failure& failure, absl::Time now) {
  BindingRecord& record = Owner(key);
  if (record.absent) Fail(record, failure, now);
}

void BindingTable::AllocateFailed(uint32_t pasid, const v1::Failure& failure, absl::Time now) {
  for (auto& [uid, record] : records_) {
    const bool waits = record.phase == BindingPhase::kCleared && !record.held.has_value();
    if (record.absent || !waits || record.key.pasid != pasid) continue;
    ++record.attempts;
    Fail(record, failure, now);
  }
}

void BindingTable::FreeFailed(uint32_t pasid, const v1::Failure& failure, absl::Time now) {
  for (const std::string& uid : deleting_) {
    BindingRecord& record = records_.at(uid);
    if (record.key.pasid == pasid && !record.held.has_value()) Fail(record, failure, now);
  }
}

bool BindingTable::ForgetAbsent(const AddressSpaceState& state, absl::Time now) {
  if (deleting_.empty()) return false;
  std::set<uint32_t> needed;
  for (const auto& [key, table] : Wanted()) needed.insert(key.pasid);
  return std::erase_if(deleting_, [&](const std::string& uid) {
           BindingRecord& record = records_.at(uid);
           const uint32_t pasid = record.key.pasid;
           const bool pasid_held = state.pasids.contains(pasid) && !needed.contains(pasid);
           if (record.held.has_value() || pasid_held) return false;
           answers_.push_back(
               MakeResult(record, record.generation, v1::Result::OUTCOME_ABSENT, now));
           const auto claim = claims_.find(record.key);
           if (claim != claims_.end() && claim->second == uid) claims_.erase(claim);
           records_.erase(uid);
           return true;
         }) > 0;
}

std::vector<v1::Result> BindingTable::TakeAnswers() { return std::exchange(answers_, {}); }

std::vector<v1::Result> BindingTable::Known(absl::Time now) const {
  std::vector<v1::Result> known;
  for (const auto& [uid, record] : records_) {
    if (record.answer.outcome() != v1::Result::OUTCOME_UNSPECIFIED) {
      known.push_back(record.answer);
      continue;
    }
    // Asked to be absent, and not gone yet.
    known.push_back(MakeResult(
        record, record.generation,
        record.held.has_value() ? v1::Result::OUTCOME_PROGRAMMED : v1::Result::OUTCOME_ACCEPTED,
        now));
  }
  return known;
}

std::map<std::string, BindingKey> BindingTable::Keys() const {
  std::map<std::string, BindingKey> keys;
  for (const auto& [uid, record] : records_) keys.emplace(uid, record.key);
  return keys;
}

void BindingTable::Fail(BindingRecord& record, const v1::Failure& failure, absl::Time now) {
  record.phase =
      failure.kind() == v1::Failure::KIND_PERMANENT ? BindingPhase::kFinal : BindingPhase::kCleared;
  v1::Result result = MakeResult(record, record.generation, v1::Result::OUTCOME_FAILED, now);
  *result.mutable_failure() = failure;
  Answer(record, std::move(result));
}

void BindingTable::Answer(BindingRecord& record, v1::Result result) {
  record.answer = result;
  answers_.push_back(std::move(result));
}

BindingRecord& BindingTable::Owner(const BindingKey& key) { return records_.at(claims_.at(key)); }

}  // namespace nestor::agent
