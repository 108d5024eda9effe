// Ways in which a part of the simulated cluster is made wrong. A run with a flaw must end in a
// violation: what finds nothing then would find nothing in Nestor either.
#pragma once

#include <array>
#include <optional>

#include "absl/strings/string_view.h"

namespace nestor::simulation {

enum class Flaw {
  kNone,
  kAnswersBeforeSync,
  kIgnoresCompares,
  kForgetsRequestIds,
  kImmortalLease,
  kHidesLostMessages,
  kIgnoresFence,
  kReportsTooEarly,
  kAnswersAbsentTooEarly,
  kNeverRetries,
  kOldBootLivesOn,
  kFencesRunningHosts,
};

struct FlawName {
  Flaw flaw;
  absl::string_view name;
  absl::string_view description;
};

inline constexpr std::array kFlaws = {
    FlawName{Flaw::kAnswersBeforeSync, "answers-before-sync",
             "the store answers a commit before it is synced"},
    FlawName{Flaw::kIgnoresCompares, "ignores-compares",
             "the store commits whatever a transaction compares"},
    FlawName{Flaw::kForgetsRequestIds, "forgets-request-ids",
             "a client's retry is taken for a new request"},
    FlawName{Flaw::kImmortalLease, "immortal-lease", "a silent host's lease is renewed"},
    FlawName{Flaw::kHidesLostMessages, "hides-lost-messages",
             "a message to an agent is lost and the gap in the sequence hidden"},
    FlawName{Flaw::kIgnoresFence, "ignores-fence", "a shim follows whoever speaks to it"},
    FlawName{Flaw::kReportsTooEarly, "reports-too-early",
             "PROGRAMMED is reported when the kernel call begins"},
    FlawName{Flaw::kAnswersAbsentTooEarly, "answers-absent-too-early",
             "ABSENT is answered before the kernel let go"},
    FlawName{Flaw::kNeverRetries, "never-retries", "a failed step is not tried again"},
    FlawName{Flaw::kOldBootLivesOn, "old-boot-lives-on",
             "a shim is not told that its guest's monitor went and came back"},
    FlawName{Flaw::kFencesRunningHosts, "fences-running-hosts",
             "an operator takes a host that is cut off for dead"},
};

inline std::optional<Flaw> FlawByName(absl::string_view name) {
  for (const FlawName& flaw : kFlaws) {
    if (flaw.name == name) return flaw.flaw;
  }
  return std::nullopt;
}

}  // namespace nestor::simulation
