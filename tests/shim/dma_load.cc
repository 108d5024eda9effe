#include "tests/shim/dma_load.h"

#include <cstdio>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "tests/component/local_cluster.h"

namespace nestor::testing {
namespace {

// In one storm, so that Ask gets its turn.
constexpr int kDmasInStorm = 20;

}  // namespace

DmaLoad::DmaLoad(Process& guest, uint32_t pasid, const std::string& text)
    : guest_(guest),
      command_(absl::StrCat("storm ", pasid, " 0x7f0000000000 ", text, " ", kDmasInStorm)) {
  thread_ = std::thread([this] { Run(); });
}

DmaLoad::~DmaLoad() { Stop(); }

std::string DmaLoad::Ask(const std::string& line) {
  const std::lock_guard lock(mutex_);
  const absl::StatusOr<std::string> answer = guest_.Ask(line, kPatience);
  return answer.ok() ? *answer : answer.status().ToString();
}

void DmaLoad::Stop() {
  stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

void DmaLoad::Run() {
  while (!stopped_) {
    const std::string answer = Ask(command_);
    int dmas = 0;
    int faults = 0;
    int mismatches = 0;
    const int read = std::sscanf(answer.c_str(), "ok dmas=%d faults=%d mismatches=%d", &dmas,
                                 &faults, &mismatches);
    dmas_ += dmas;
    failures_ += read == 3 ? faults + mismatches : 1;
    std::this_thread::yield();
  }
}

}  // namespace nestor::testing
