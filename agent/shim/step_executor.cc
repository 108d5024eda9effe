#include "agent/shim/step_executor.h"

#include <chrono>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

struct Executor {
  IommuBackend& backend;
  AddressSpace& address_space;
  StepResult& result;

  absl::Status operator()(const AttachDevice& step) const {
    ASSIGN_OR_RETURN(result.capabilities, backend.Probe(step.device));
    return address_space.Attach(step.device);
  }
  absl::Status operator()(const DetachDevice& step) const {
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
