#include "tests/bench/fleet.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "api/support/status_macros.h"

namespace nestor::bench {
namespace {

constexpr int kProcesses = 4;
constexpr absl::Duration kPatience = absl::Minutes(5);
constexpr absl::Duration kIdle = absl::Seconds(15);

struct Counts {
  int64_t connected = 0;
  int64_t held = 0;
};

class Fleet {
 public:
  Fleet(const std::string& server, const std::string& directory, int agents) {
    const int each = (agents + kProcesses - 1) / kProcesses;
    for (int first = 0; first < agents; first += each) {
      const int count = std::min(each, agents - first);
      processes_.push_back(std::make_unique<testing::Process>(
          "nestor-bench",
          std::vector<std::string>{"--hollow", server, "--hollow-first", absl::StrCat(first),
                                   "--hollow-count", absl::StrCat(count)},
          directory + "/hollow.log"));
    }
  }

  absl::StatusOr<Counts> Count() {
    Counts all;
    for (const auto& process : processes_) {
      ASSIGN_OR_RETURN(const std::string answer, process->Ask("?", kPatience));
      long connected = 0;
      long held = 0;
      if (std::sscanf(answer.c_str(), "%ld %ld", &connected, &held) != 2) {
        return absl::InternalError("hollow agents answer " + answer);
      }
      all.connected += connected;
      all.held += held;
    }
    return all;
  }

 private:
  std::vector<std::unique_ptr<testing::Process>> processes_;
};

// Asks until `reached`; how long that took.
template <typename Reached>
absl::StatusOr<absl::Duration> Until(Reached reached) {
  const absl::Time start = absl::Now();
  for (;;) {
    ASSIGN_OR_RETURN(const bool is_there, reached());
    if (is_there) return absl::Now() - start;
    if (absl::Now() - start > kPatience) return absl::DeadlineExceededError("the fleet");
    absl::SleepFor(absl::Milliseconds(100));
  }
}

}  // namespace

absl::StatusOr<FleetFigures> MeasureFleet(NestorUnderTest& nestor, const std::string& directory,
                                          int agents, int bindings) {
  FleetFigures figures;
  const int64_t all = static_cast<int64_t>(agents) * bindings;
  RETURN_IF_ERROR(nestor.Start().status());
  RETURN_IF_ERROR(CreateMachines(nestor.api_address(), agents));
  RETURN_IF_ERROR(CreateBatches(nestor.api_address(), 0, all, agents).status());
  ASSIGN_OR_RETURN(const int64_t before, nestor.ResidentBytes());
  Fleet fleet(nestor.agent_address(), directory, agents);
  ASSIGN_OR_RETURN(figures.cold, Until([&]() -> absl::StatusOr<bool> {
                     ASSIGN_OR_RETURN(const Counts counts, fleet.Count());
                     if (counts.connected < agents || counts.held < all) return false;
                     ASSIGN_OR_RETURN(const int64_t programmed, nestor.ProgrammedBindings());
                     return programmed == all;
                   }));
  ASSIGN_OR_RETURN(const int64_t after, nestor.ResidentBytes());
  figures.bytes_per_agent = static_cast<double>(after - before) / agents;
  ASSIGN_OR_RETURN(const absl::Duration busy, nestor.ProcessorTime());
  absl::SleepFor(kIdle);
  ASSIGN_OR_RETURN(const absl::Duration idle, nestor.ProcessorTime());
  figures.idle_cpu = (idle - busy) / kIdle;
  RETURN_IF_ERROR(nestor.Stop());
  ASSIGN_OR_RETURN(const Counts alone, fleet.Count());
  if (alone.held != all) return absl::InternalError("agents let go of bindings");
  RETURN_IF_ERROR(nestor.Start().status());
  ASSIGN_OR_RETURN(figures.reconnect, Until([&]() -> absl::StatusOr<bool> {
                     // What they hold is what is wanted: welcomed, they have converged.
                     ASSIGN_OR_RETURN(const Counts counts, fleet.Count());
                     if (counts.connected < agents) return false;
                     ASSIGN_OR_RETURN(const int64_t programmed, nestor.ProgrammedBindings());
                     return programmed == all;
                   }));
  RETURN_IF_ERROR(nestor.Stop());
  return figures;
}

}  // namespace nestor::bench
