#include "agent/shim/fence_keeper.h"

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"

namespace nestor::agent {
namespace {

absl::Status Stale(absl::string_view what, int64_t got, int64_t highest) {
  return WithReason(absl::AbortedError(absl::StrCat("stale fence: ", what, " ", got, " is below ",
                                                    highest, ", which was already seen")),
                    "STALE_FENCE");
}

}  // namespace

absl::Status FenceKeeper::Check(const v1::Fence& fence) const {
  if (fence.incarnation().empty() || fence.epoch() < 1 || fence.head_revision() < 1) {
    return absl::InvalidArgumentError("a fence needs incarnation, epoch and head revision");
  }
  if (highest_.incarnation().empty()) return absl::OkStatus();
  if (fence.incarnation() != highest_.incarnation()) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("hold: what is held here was told by store ",
                                       highest_.incarnation(), ", not by ", fence.incarnation())),
                      "HOLD");
  }
  if (fence.epoch() < highest_.epoch()) return Stale("epoch", fence.epoch(), highest_.epoch());
  if (fence.head_revision() < highest_.head_revision()) {
    return Stale("head revision", fence.head_revision(), highest_.head_revision());
  }
  return absl::OkStatus();
}

}  // namespace nestor::agent
