// The transaction that a decision builds up, seen over the view it is based on.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "server/core/decision.h"
#include "server/core/view.h"

namespace nestor::server {

// The virtual machine under which bindings are decided; stored, or about to be.
struct MachineContext {
  VirtualMachineName name;
  v1::VirtualMachineSpec spec;
  std::string host;                         // id
  const HostRecord* host_record = nullptr;  // may be null
};

// Collects compares, puts and deletes; each key is compared once. Claims made or given up in
// the draft count in what it says of claims.
class IntentDraft {
 public:
  IntentDraft(const View& view, absl::Time now) : view_(view), now_(now) {}

  const View& view() const { return view_; }
  google::protobuf::Timestamp now() const;

  // The decision holds only while `key` is as it was at `revision` (0: absent).
  void RelyOn(std::string key, int64_t revision);
  void RelyOnRange(const std::string& begin, const std::string& end);
  // The last word on a key counts.
  void Put(std::string key, const google::protobuf::Message& row);
  void Delete(std::string key);

  // Claims, for `holder` (a resource name). DEVICE_IN_USE; PASID_IN_USE.
  absl::Status ClaimDevice(const std::string& host, const std::string& bdf,
                           const std::string& holder);
  absl::Status ClaimPasid(const std::string& host, const std::string& bdf, uint32_t pasid,
                          const std::string& holder);
  // Give up claims of `holder`; one that it does not have stays.
  void ReleaseDevice(const std::string& host, const std::string& bdf, const std::string& holder);
  void ReleasePasid(const std::string& host, const std::string& bdf, uint32_t pasid,
                    const std::string& holder);
  // The lowest PASID of the range that is free on the whole host (type1 shares them there),
  // else on the device. PASID_SPACE_FULL.
  absl::StatusOr<uint32_t> PickPasid(const std::string& host, const std::string& bdf,
                                     uint32_t first, uint32_t last);

  Decision Finish(std::shared_ptr<google::protobuf::Message> reply) &&;

 private:
  // Of one key; no row: deleted.
  struct Change {
    std::string key;
    std::optional<std::string> row;
  };

  // The lowest PASID from `first` on that is free on the device, or (empty bdf) on the whole
  // host, after this draft and, if `wait`, after the transactions on their way.
  uint32_t NextFree(const std::string& host, const std::string& bdf, uint32_t first, bool wait);

  const View& view_;
  const absl::Time now_;
  // As they were asked for; Finish settles what is said of a key twice.
  std::vector<Compare> compares_;
  std::vector<Change> changes_;
  // In this draft, by host.
  std::map<std::string, PasidIndex> claimed_;
  std::map<std::string, PasidIndex> released_;
  // Where the last search for a PASID free on a host from the key's on ended, so that a batch
  // does not search the same PASIDs again and again.
  std::map<std::pair<std::string, uint32_t>, uint32_t> searched_;
};

MachineContext ContextOf(const View& view, const VirtualMachineName& name,
                         const v1::VirtualMachineSpec& spec);

// Whether the host's agent ever reported its devices.
bool WasSeen(const HostRecord* host);
// HOST_FENCED; otherwise the draft relies on its not being fenced.
absl::Status CheckNotFenced(IntentDraft& draft, const std::string& host);
// HOST_DRAINING too; otherwise the draft relies on its not being emptied.
absl::Status CheckTakesNew(IntentDraft& draft, const std::string& host);
// Whether a deletion waits for the host's agent to confirm it, which the draft then relies on.
// No agent ever heard of what was placed on a host that was never seen, and one that is fenced
// holds nothing that counts.
bool MustConfirm(IntentDraft& draft, const std::string& host);
// DEVICE_UNSUITABLE unless the host, once seen, has that device and it nests.
absl::Status CheckDevice(const MachineContext& machine, const std::string& bdf);

// A new row's metadata.
storage::v1::RowMetadata NewRowMetadata(const IntentDraft& draft, const std::string& uid,
                                        const v1::Metadata& wanted);
// Whether the client's etag, where it gave one, is that of the row. ETAG_MISMATCH.
absl::Status CheckCurrent(const std::string& name, const std::string& etag,
                          const google::protobuf::Message& row);
bool SameMessage(const google::protobuf::Message& a, const google::protobuf::Message& b);
bool SameLabels(const v1::Metadata& wanted, const storage::v1::RowMetadata& row);

// Takes labels and spec into `row`; whether anything changed. The generation counts changes of
// the spec.
template <typename Row, typename Spec>
bool UpdateRow(const IntentDraft& draft, const v1::Metadata& wanted, const Spec& spec, Row* row) {
  const bool new_spec = !SameMessage(row->spec(), spec);
  if (!new_spec && SameLabels(wanted, row->metadata())) return false;
  storage::v1::RowMetadata& metadata = *row->mutable_metadata();
  if (new_spec) metadata.set_generation(metadata.generation() + 1);
  *metadata.mutable_update_time() = draft.now();
  *metadata.mutable_labels() = wanted.labels();
  *row->mutable_spec() = spec;
  return true;
}

// `status` with `path` before its message unless it is there; its details kept.
absl::Status At(const std::string& path, const absl::Status& status);
// The indexes of `bindings` in the order in which they are to be drafted: those that name
// their PASID first, so that none of the others picks it.
std::vector<int> DraftOrder(const std::vector<const v1::PasidBinding*>& bindings);

// Moves: the machine's placement names another host than `stored`. MOVING while the host that it
// left before has not let go, and as CreateVirtualMachine. Claims the new devices. What the old
// host holds goes to a departure, which keeps the old claims until that host has let go; there is
// none where nobody must confirm. Returns the old host (id) where it has to let go, else nothing.
absl::StatusOr<std::string> DraftMove(IntentDraft& draft, const MachineContext& machine,
                                      const VirtualMachineRecord& stored);
// A binding that goes with its moved machine, in the form that `wanted` says: its target is
// claimed on the new host. Puts it into the draft and returns it as it will be.
absl::StatusOr<v1::PasidBinding> DraftMoveBinding(IntentDraft& draft, const MachineContext& machine,
                                                  const std::string& path,
                                                  const v1::PasidBinding& wanted);
// The host has let go of the machine of that name that was moved away from it.
void DraftRelease(IntentDraft& draft, const std::string& machine);
// The PASID that the binding will hold, claimed; 0 for RID, which claims the device's PASID 0.
absl::StatusOr<uint32_t> ClaimTarget(IntentDraft& draft, const MachineContext& machine,
                                     const FieldPath& path, const v1::PasidBinding& wanted);

// Bindings, shared by the single methods, the batches and Apply. `path` is the request's path
// of the binding, e.g. "requests[3].pasid_binding". Each puts into the draft and returns the
// binding as it will be.
absl::StatusOr<v1::PasidBinding> DraftCreate(IntentDraft& draft, const MachineContext& machine,
                                             const UidSource& uids, const FieldPath& path,
                                             const v1::PasidBinding& wanted);
// `changed` says whether anything is written.
absl::StatusOr<v1::PasidBinding> DraftUpdate(IntentDraft& draft, const std::string& path,
                                             const v1::PasidBinding& wanted, bool* changed);
v1::PasidBinding DraftDelete(IntentDraft& draft, const std::string& name);

// Virtual machines, shared likewise.
absl::StatusOr<v1::VirtualMachine> DraftCreateMachine(IntentDraft& draft, const UidSource& uids,
                                                      const v1::VirtualMachine& wanted);
// A device may be taken away from bindings in `going_bindings`, which are deleted with it. Of a
// move it does all but the bindings.
absl::StatusOr<v1::VirtualMachine> DraftUpdateMachine(IntentDraft& draft,
                                                      const v1::VirtualMachine& wanted,
                                                      const std::set<std::string>& going_bindings,
                                                      bool* changed);

// Adds to what is told of the host, in its session of `epoch`.
void DraftHostEvent(IntentDraft& draft, const std::string& host, v1::TimelineEvent::Kind kind,
                    int64_t epoch, const std::string& message);

// Whether `wanted` names another host than the machine is placed on.
bool IsMove(const View& view, const v1::VirtualMachine& wanted);

// Removes a resource with its claims and what was observed of it.
void DraftPurgeBinding(IntentDraft& draft, const std::string& name);
void DraftPurgeMachine(IntentDraft& draft, const std::string& name);
// Removes those of them (names) that are being deleted; a machine stays while it has bindings
// that are not in `bindings`.
void DraftPurge(IntentDraft& draft, const std::vector<std::string>& bindings,
                const std::vector<std::string>& virtual_machines);

}  // namespace nestor::server
