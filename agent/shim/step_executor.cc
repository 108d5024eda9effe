#include "agent/shim/step_executor.h"

#include <chrono>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// Without the kernel's error, whatever it was: the next attempt may succeed.
absl::Status ResetFailed(const Bdf& device, const absl::Status& reset) {
  return WithReason(absl::UnavailableError(absl::StrCat(
                        device, " could not be reset, so it is not handed out: ", reset.message())),
                    "DEVICE_RESET_FAILED");
}

struct Executor {
  IommuBackend& backend;
  AddressSpace& address_space;
  StepResult& result;

  absl::Status operator()(const AttachDevice& step) const {
    ASSIGN_OR_RETURN(result.capabilities, backend.Probe(step.device));
    const absl::Status attached = address_space.Attach(step.device);
    // Attached it is where it could not be detached after a reset that failed.
    if (!attached.ok() && !absl::IsAlreadyExists(attached)) return attached;
    result.reset = address_space.Reset(step.device);
    if (result.reset->ok() || absl::IsUnimplemented(*result.reset)) return absl::OkStatus();
    (void)address_space.Detach(step.device);
    return ResetFailed(step.device, *result.reset);
  }
  absl::Status operator()(const DetachDevice& step) const {
    result.reset = address_space.Reset(step.device);
    return address_space.Detach(step.device);
  }
  absl::Status operator()(const MapRegion& step) const {
    return address_space.Map(step.device, step.region);
  }
  absl::Status operator()(const UnmapRegion& step) const {
    return address_space.Unmap(step.device, step.region);
  }
  absl::Status operator()(const AllocatePasid& step) const {
    return address_space.AllocatePasid(step.pasid);
  }
  absl::Status operator()(const FreePasid& step) const {
    return address_space.FreePasid(step.pasid);
  }
  absl::Status operator()(const BindTable& step) const {
    return address_space.Bind(step.key, step.table);
  }
  absl::Status operator()(const ReplaceTable& step) const {
    return address_space.Replace(step.key, step.table);
  }
  absl::Status operator()(const UnbindTable& step) const { return address_space.Unbind(step.key); }
  absl::Status operator()(const ResetFunction& step) const {
    return address_space.Reset(step.device);
  }
};

}  // namespace

StepResult Execute(const Step& step, IommuBackend& backend, AddressSpace& address_space) {
  StepResult result;
  const auto start = std::chrono::steady_clock::now();
  result.status = std::visit(Executor{backend, address_space, result}, step);
  result.duration = absl::FromChrono(std::chrono::steady_clock::now() - start);
  return result;
}

}  // namespace nestor::agent
