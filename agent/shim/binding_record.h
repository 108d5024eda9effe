// What a shim knows of one binding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "agent/core/host_state.h"
#include "nestor/v1/agent_service.pb.h"

namespace nestor::agent {

// Where the newest generation of a binding stands.
enum class BindingPhase {
  kWaiting,     // for its device, its monitor, its memory
  kCleared,     // to be programmed now, or again after a failure that may pass
  kProgrammed,  // the kernel has it
  kFinal,       // refused, or ended with its guest's boot: waits for a new generation
};

// What the kernel holds for a binding.
struct HeldBinding {
  PageTable table;
  int64_t generation = 0;
  std::string vm_instance;
  bool ending = false;  // to be unbound before anything else happens to its key
};

// A bind or replace that runs.
struct BindingAttempt {
  int64_t generation = 0;
  std::string vm_instance;
  bool ending = false;  // its guest's boot or its device went meanwhile
};

struct BindingRecord {
  // The intent's newest generation. `key` never changes.
  std::string uid;
  int64_t generation = 0;
  bool absent = false;
  BindingKey key;
  PageTable table;
  std::string required_instance;  // empty: any
  bool allow_translation_gap = false;

  // What became of that generation.
  BindingPhase phase = BindingPhase::kWaiting;
  int64_t attempts = 0;
  v1::Result answer;       // the last one; outcome UNSPECIFIED: none yet
  std::string end_reason;  // why what it held ended; with kFinal only

  // What the kernel has, whichever generation it was.
  std::optional<HeldBinding> held;
  std::optional<BindingAttempt> attempt;

  // The table that the kernel should have under `key`; unset: none.
  std::optional<PageTable> Wanted() const;
  // Takes over what a new generation says; what is held stays.
  void Renew(const v1::DesiredBinding& desired);
  // Whether a kernel call was made for it that still has, or may have, an effect.
  bool IsInKernel() const { return held.has_value() || attempt.has_value(); }
  // What was programmed must go, and the newest generation with it. The first reason stays.
  void End(const std::string& reason);
};

// The parts of an intent as the agent's own values, and the way back.
BindingKey KeyOf(const v1::DesiredBinding& desired);
PageTable TableOf(const v1::PageTable& table);
v1::PageTable ToMessage(const PageTable& table);

// An answer for `generation` of that binding, with what the kernel holds.
v1::Result MakeResult(const BindingRecord& record, int64_t generation, v1::Result::Outcome outcome,
                      absl::Time now);

}  // namespace nestor::agent
