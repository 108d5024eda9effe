// The bindings of one virtual machine: what is wanted, what is held, what was answered.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/core/host_state.h"
#include "agent/shim/binding_judgement.h"
#include "agent/shim/binding_record.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// How long a kernel call took, and whether the PASID had no translation meanwhile.
struct CallTiming {
  absl::Duration duration;
  bool left_gap = false;
};

// Answers each generation of each binding: ACCEPTED first, and again with another outcome
// or cause whenever that changes. A generation that is delivered again gets its last answer
// again. Not thread-safe.
class BindingTable {
 public:
  // Takes in one intent; Judge decides on it.
  void Take(const v1::DesiredBinding& desired, absl::Time now);
  // Judges every generation that is not settled.
  void Judge(const MachineSituation& machine, absl::Time now);
  // The guest's use of that device (of all devices) ended: what was programmed must go, and
  // waits for a new generation.
  void EndDevice(const Bdf& device, const std::string& reason);
  void EndAll(const std::string& reason);

  // Whether the kernel still has a binding of that device which EndDevice or EndAll ended.
  bool HasEnded(const Bdf& device) const;

  // What the kernel should have.
  std::map<BindingKey, PageTable> Wanted() const;

  // A bind or replace of `key` begins.
  void BeginAttempt(const BindingKey& key, const std::string& vm_instance);

  // What became of steps. Each returns whether other steps may be needed now than before.
  bool Bound(const BindingKey& key, const PageTable& table, const CallTiming& timing,
             absl::Time now);
  bool Unbound(const BindingKey& key, absl::Time now);
  // `lost`: the old root is gone too.
  void BindFailed(const BindingKey& key, const v1::Failure& failure, bool lost, absl::Time now);
  void UnbindFailed(const BindingKey& key, const v1::Failure& failure, absl::Time now);
  void AllocateFailed(uint32_t pasid, const v1::Failure& failure, absl::Time now);
  void FreeFailed(uint32_t pasid, const v1::Failure& failure, absl::Time now);

  // Forgets the bindings asked to be absent of which `state` has nothing left, and answers
  // ABSENT. Not to be called while a step runs. Returns whether there were any.
  bool ForgetAbsent(const AddressSpaceState& state, absl::Time now);

  // The answers since the last call, oldest first.
  std::vector<v1::Result> TakeAnswers();
  // The present answer of each binding.
  std::vector<v1::Result> Known(absl::Time now) const;
  // What each binding is to bind, by uid.
  std::map<std::string, BindingKey> Keys() const;

 private:
  void Renew(BindingRecord& record, const v1::DesiredBinding& desired, absl::Time now);
  void Answer(BindingRecord& record, v1::Result result);
  void Fail(BindingRecord& record, const v1::Failure& failure, absl::Time now);
  void JudgeOne(BindingRecord& record, const MachineSituation& machine, absl::Time now);
  // The one refusal that depends on other bindings.
  std::optional<Refusal> Claim(const BindingRecord& record);
  void Refuse(BindingRecord& record, const Refusal& refusal, absl::Time now);
  void Clear(BindingRecord& record, absl::Time now);
  BindingRecord& Owner(const BindingKey& key);

  std::map<std::string, BindingRecord> records_;  // by uid
  std::map<BindingKey, std::string> claims_;      // who may use a key: uid
  std::set<std::string> deleting_;                // uids of absent records
  std::vector<v1::Result> answers_;
};

}  // namespace nestor::agent
