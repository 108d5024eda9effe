// Decisions about intent: what a mutating request means for the store.
//
// Pure functions of (view, request, now). The request has passed validation.h. Each returns a
// transaction that compares all it relied on, so that committing it against a view that was
// stale is ABORTED by the store and decided again; a refusal is an error of the catalogue
// (api/support/errors.h) as the protos name it, and changes nothing. A request that changes
// nothing has an empty transaction.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nestor/v1/host_admin_service.pb.h"
#include "nestor/v1/host_service.pb.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/virtual_machine_service.pb.h"
#include "server/core/decision.h"
#include "server/core/view.h"

namespace nestor::server {

// Replies v1::Host; DeleteHost replies google.protobuf.Empty.
absl::StatusOr<Decision> CreateHost(const View& view, absl::Time now, const UidSource& uids,
                                    const v1::CreateHostRequest& request);
absl::StatusOr<Decision> UpdateHost(const View& view, absl::Time now,
                                    const v1::UpdateHostRequest& request);
absl::StatusOr<Decision> DeleteHost(const View& view, const v1::DeleteHostRequest& request);

// Reply v1::Host. `by` is who says so. Of what waits there for deletion, or for leave, about
// kPurgedAtOnce go in one transaction, so that none is large: PurgeFencedHost, again and again
// until it changes nothing, removes the rest.
inline constexpr int kPurgedAtOnce = 256;
absl::StatusOr<Decision> FenceHost(const View& view, absl::Time now, const std::string& by,
                                   const v1::FenceHostRequest& request);
// `host` is an id. NOT_FOUND where it is gone. Nothing goes on a host that is not fenced.
absl::StatusOr<Decision> PurgeFencedHost(const View& view, absl::Time now, const std::string& host);

// Reply v1::Host; `by` is who asked.
absl::StatusOr<Decision> DrainHost(const View& view, absl::Time now, const std::string& by,
                                   const v1::DrainHostRequest& request);
absl::StatusOr<Decision> UndrainHost(const View& view, absl::Time now, const std::string& by,
                                     const v1::UndrainHostRequest& request);

// Reply v1::VirtualMachine.
absl::StatusOr<Decision> CreateVirtualMachine(const View& view, absl::Time now,
                                              const UidSource& uids,
                                              const v1::CreateVirtualMachineRequest& request);
absl::StatusOr<Decision> UpdateVirtualMachine(const View& view, absl::Time now,
                                              const v1::UpdateVirtualMachineRequest& request);
// Two-phase, unless the host was never seen. With `force` its bindings go in the same
// transaction.
absl::StatusOr<Decision> DeleteVirtualMachine(const View& view, absl::Time now,
                                              const v1::DeleteVirtualMachineRequest& request);
// Replies v1::ApplyVirtualMachineResponse.
absl::StatusOr<Decision> ApplyVirtualMachine(const View& view, absl::Time now,
                                             const UidSource& uids,
                                             const v1::ApplyVirtualMachineRequest& request);

// Reply v1::PasidBinding.
absl::StatusOr<Decision> CreatePasidBinding(const View& view, absl::Time now, const UidSource& uids,
                                            const v1::CreatePasidBindingRequest& request);
absl::StatusOr<Decision> UpdatePasidBinding(const View& view, absl::Time now,
                                            const v1::UpdatePasidBindingRequest& request);
absl::StatusOr<Decision> DeletePasidBinding(const View& view, absl::Time now,
                                            const v1::DeletePasidBindingRequest& request);
// Reply the batch responses; all or none; a refusal names requests[i].
absl::StatusOr<Decision> BatchCreatePasidBindings(
    const View& view, absl::Time now, const UidSource& uids,
    const v1::BatchCreatePasidBindingsRequest& request);
absl::StatusOr<Decision> BatchDeletePasidBindings(
    const View& view, absl::Time now, const v1::BatchDeletePasidBindingsRequest& request);

// The host (id) confirmed that nothing is left of these (uids, machines with the generation that it
// speaks of) there. Of what is placed there and
// is being deleted, rows, observed rows and claims go; a virtual machine stays while it has
// bindings that are not in `bindings`. One that was moved away has left the host: its new one may
// be told of it. Other uids are left out. No reply.
Decision Purge(const View& view, absl::Time now, const std::string& host,
               const std::vector<std::string>& bindings,
               const std::map<std::string, int64_t>& virtual_machines);

}  // namespace nestor::server
