#include "agent/shim/inline_shim.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/shim/running_shim.h"
#include "api/support/status_macros.h"

namespace nestor::agent {

InlineShimLauncher::InlineShimLauncher(IommuBackend& backend, kernel::Syscalls& syscalls,
                                       const Clock& clock, ReportCallback report,
                                       InlineShimOptions options)
    : backend_(backend),
      syscalls_(syscalls),
      clock_(clock),
      report_(std::move(report)),
      options_(options),
      workers_(options.workers) {}

InlineShimLauncher::~InlineShimLauncher() {
  // First the shims, so that no caller waits for a step that no worker will do.
  for (const auto& [uid, shim] : shims_) shim->Close();
  workers_.Stop();
  timer_.Stop();
}

absl::StatusOr<std::shared_ptr<Shim>> InlineShimLauncher::Launch(const std::string& vm_name,
                                                                 const std::string& vm_uid) {
  std::lock_guard lock(mutex_);
  if (const auto it = shims_.find(vm_uid); it != shims_.end()) return it->second;
  ASSIGN_OR_RETURN(std::unique_ptr<AddressSpace> address_space, backend_.CreateAddressSpace());
  const ShimEnvironment environment{backend_, syscalls_, clock_,          workers_,
                                    timer_,   report_,   options_.on_step};
  ShimCoreOptions core_options{.vm_name = vm_name,
                               .vm_uid = vm_uid,
                               .replace_has_gap = backend_.replace_has_gap(),
                               .after_loss = options_.after_loss,
                               .backoff = options_.backoff,
                               .seed = std::hash<std::string>()(vm_uid)};
  auto shim =
      std::make_shared<RunningShim>(environment, std::move(core_options), std::move(address_space));
  shims_.emplace(vm_uid, shim);
  return shim;
}

absl::Status InlineShimLauncher::Retire(const std::string& vm_uid) {
  std::lock_guard lock(mutex_);
  const auto it = shims_.find(vm_uid);
  if (it == shims_.end()) {
    return absl::NotFoundError(absl::StrCat("no shim of virtual machine ", vm_uid, " runs"));
  }
  if (!it->second->CloseIfIdle()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the shim of virtual machine ", vm_uid, " holds kernel state"));
  }
  shims_.erase(it);
  return absl::OkStatus();
}

std::vector<std::shared_ptr<Shim>> InlineShimLauncher::Running() {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Shim>> running;
  for (const auto& [uid, shim] : shims_) running.push_back(shim);
  return running;
}

}  // namespace nestor::agent
