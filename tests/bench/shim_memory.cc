#include "tests/bench/shim_memory.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/testing/process.h"

namespace nestor::bench {
namespace {

// So many that what they share is no longer one's own.
constexpr int kShims = 4;
constexpr absl::Duration kPatience = absl::Seconds(30);

absl::StatusOr<int64_t> PrivateBytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/smaps_rollup"));
  int64_t kibibytes = 0;
  for (std::string word; file >> word;) {
    int64_t value = 0;
    if ((word == "Private_Clean:" || word == "Private_Dirty:") && file >> value) {
      kibibytes += value;
    }
  }
  if (kibibytes == 0) return absl::NotFoundError("no smaps_rollup of nestor-shim");
  return kibibytes * 1024;
}

}  // namespace

absl::StatusOr<int64_t> MeasureShimMemory(const std::string& directory) {
  std::filesystem::create_directories(directory);
  const std::string kernel = directory + "/sim.sock";
  testing::Process simkernel("nestor-simkernel", {"--listen", "unix:" + kernel},
                             directory + "/simkernel.log");
  // A line of log, once it listens; of a shim too.
  if (auto ready = simkernel.ReadLine(kPatience); !ready.ok()) return ready.status();
  std::vector<std::unique_ptr<testing::Process>> shims;
  for (int i = 0; i < kShims; ++i) {
    const std::string uid = absl::StrCat("idle-", i);
    shims.push_back(std::make_unique<testing::Process>(
        "nestor-shim",
        std::vector<std::string>{"--vm", absl::StrCat("projects/bench/virtualMachines/", uid),
                                 "--uid", uid, "--listen", absl::StrCat(directory, "/", uid),
                                 "--vmm-dir", directory, "--kernel", "sim:" + kernel},
        directory + "/shim.log"));
    if (auto ready = shims.back()->ReadLine(kPatience); !ready.ok()) return ready.status();
  }
  return PrivateBytes(shims.front()->pid());
}

}  // namespace nestor::bench
