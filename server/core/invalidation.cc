#include "server/core/invalidation.h"

#include <optional>

#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "server/core/host_intent.h"

namespace nestor::server {

absl::StatusOr<HostInvalidation> InvalidationOf(const View& view,
                                                const v1::InvalidateCacheRequest& request) {
  const std::optional<PasidBindingRecord> record = view.FindPasidBinding(request.name());
  if (!record) return errors::NotFound(request.name());
  const std::string machine = PasidBindingName::Parse(request.name())->Parent().ToString();
  HostInvalidation invalidation{HostOfResource(view, request.name()), {}};
  v1::Invalidation& message = invalidation.message;
  message.set_vm_uid(view.FindVirtualMachine(machine)->row.metadata().uid());
  message.set_device(record->row.spec().device());
  message.set_pasid(record->row.effective_pasid());
  if (request.has_range()) *message.mutable_range() = request.range();
  return invalidation;
}

}  // namespace nestor::server
