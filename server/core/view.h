// All that the store holds, in memory, with the indexes that decisions need.
//
// Fed by the store's rows and events, so it is the store as of head_revision(). Decisions read it;
// their transactions compare what they relied on, so that a stale view costs a retry and never a
// wrong commit.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "nestor/storage/v1/rows.pb.h"
#include "nestor/v1/resources.pb.h"
#include "server/core/binding_table.h"
#include "server/core/pasid_index.h"
#include "server/store/store.h"

namespace nestor::server {

// What a change is about.
enum class ResourceKind { kHost, kDevice, kVirtualMachine, kPasidBinding };

// One resource changed.
struct StateChange {
  ResourceKind kind = ResourceKind::kHost;
  std::string name;  // resource name
  int64_t revision = 0;
  bool intent = false;   // its intent row changed; otherwise what was observed of it
  bool deleted = false;  // the intent row is gone
  std::string uid;       // of a deleted resource
};

// A person's word that a host is dead.
struct FenceRecord {
  v1::HostFence fence;
  int64_t revision = 0;  // mod_revision of the row
};

// A virtual machine was moved away from a host that has not let go of it yet.
struct DepartureRecord {
  std::string host;  // id
  storage::v1::DepartureRow row;
  int64_t revision = 0;  // mod_revision of the row
};

// A host, and what is placed on it.
struct HostRecord {
  storage::v1::HostRow row;
  int64_t revision = 0;  // mod_revision of the row; 0: there is none
  storage::v1::HostObservedRow observed;
  google::protobuf::RepeatedPtrField<v1::TimelineEvent> events;  // oldest first
  std::map<std::string, v1::DeviceStatus, std::less<>> devices;  // by BDF
  std::set<std::string> virtual_machines;                        // resource names
  std::set<std::string> departing;  // resource names of machines that were moved away
  std::optional<FenceRecord> fence;
};

struct VirtualMachineRecord {
  storage::v1::VirtualMachineRow row;
  int64_t revision = 0;  // mod_revision of the row; 0: not yet stored
  v1::VirtualMachineStatus observed;
  google::protobuf::RepeatedPtrField<v1::TimelineEvent> events;  // its moves, oldest first
  std::string leaving_host;  // id; until that host has let go nothing is told to the present one
  const std::string& host() const { return row.spec().placement().host(); }
  std::string host_id() const { return std::string(absl::StripPrefix(host(), "hosts/")); }
};

// How many resources show each state, as v1's enums number them.
struct StateCounts {
  BindingCounts bindings{};
  std::array<int64_t, v1::VirtualMachineStatus::State_ARRAYSIZE> virtual_machines{};
  std::array<int64_t, v1::HostStatus::State_ARRAYSIZE> hosts{};
};

// What is claimed on one host.
struct HostClaims {
  std::map<std::string, ClaimRecord, std::less<>> devices;  // by BDF
  PasidIndex pasids;
  // Claims in transactions on their way to the store: perhaps soon held.
  PasidIndex pasids_on_their_way;
};

// The newest epoch given out for a host.
struct EpochRecord {
  int64_t epoch = 0;
  int64_t revision = 0;
};

// The stored answer to a mutating request.
struct RequestRecord {
  storage::v1::RequestRow row;
  int64_t revision = 0;
};

// Not thread-safe.
class View {
 public:
  // Resources by name (hosts by id), in order.
  template <typename Record>
  using Records = std::map<std::string, Record, std::less<>>;

  // Takes in one event and adds what it changed of resources to `changes`. DATA_LOSS: the row
  // does not parse. FAILED_PRECONDITION STORE_INCOMPATIBLE: it was written by a newer version, or
  // its key is none that this one writes.
  absl::Status Apply(const StoreEvent& event, std::vector<StateChange>* changes);
  // The store has come to `revision`; what led there is taken in.
  void AdvanceTo(int64_t revision);

  int64_t head_revision() const { return head_revision_; }

  // Null or nothing where there is none. Names are resource names, hosts are ids.
  const HostRecord* FindHost(absl::string_view host) const;
  const VirtualMachineRecord* FindVirtualMachine(absl::string_view name) const;
  std::optional<PasidBindingRecord> FindPasidBinding(absl::string_view name) const;
  // Null where no host has still to let go of a virtual machine of that name.
  const DepartureRecord* FindDeparture(absl::string_view name) const;
  // The name of the present resource with that uid; empty where there is none.
  std::string VirtualMachineByUid(absl::string_view uid) const;
  std::string PasidBindingByUid(absl::string_view uid) const;

  // A host of revision 0 is not declared: something is only known of it.
  const Records<HostRecord>& hosts() const { return hosts_; }
  const Records<VirtualMachineRecord>& virtual_machines() const { return virtual_machines_; }
  const BindingTable& pasid_bindings() const { return pasid_bindings_; }
  // Names of a machine's bindings, in order.
  std::vector<std::string> BindingsOf(absl::string_view virtual_machine) const;
  bool HasBindings(absl::string_view virtual_machine) const;

  // Empty holder, revision 0: unclaimed.
  ClaimRecord DeviceClaim(absl::string_view host, absl::string_view bdf) const;
  ClaimRecord PasidClaim(absl::string_view host, absl::string_view bdf, uint32_t pasid) const;
  const HostClaims& ClaimsOf(absl::string_view host) const;
  // A transaction goes to the store: until it is forgotten, decisions pick PASIDs that it does
  // not claim, and so need not be made again. Returns the keys of its claims.
  std::vector<std::string> NoteOnItsWay(const Transaction& transaction);
  void ForgetOnItsWay(const std::vector<std::string>& claims);

  EpochRecord Epoch(absl::string_view host) const;
  // Null where the host is not fenced. Also of a host that is not declared (any more).
  const FenceRecord* FindFence(absl::string_view host) const;
  // The last revision of the run of the server that wrote a host's newest epoch at `revision`;
  // the head for the present run. See server_runs.h.
  int64_t EndOfRun(int64_t revision) const;
  const RequestRecord* FindRequest(absl::string_view key) const;
  // The stored answers of a scope: keys by the revision that wrote them, and bytes of replies.
  const std::map<int64_t, std::string>& RequestsByAge(absl::string_view scope) const;
  size_t RequestBytes(absl::string_view scope) const;

  // The resources as the API shows them.
  v1::Host HostResource(absl::string_view host) const;
  v1::Host HostResource(absl::string_view host, const HostRecord& record) const;
  v1::Device DeviceResource(absl::string_view host, absl::string_view bdf) const;
  v1::VirtualMachine VirtualMachineResource(absl::string_view name) const;
  v1::PasidBinding PasidBindingResource(absl::string_view name) const;
  v1::PasidBinding PasidBindingResource(absl::string_view name,
                                        const PasidBindingRecord& record) const;

  // How many resources show which state. Costs a step for each machine, none for bindings.
  StateCounts CountStates() const;

  // The states that the resources show, without making them.
  v1::VirtualMachineStatus::State StateOf(const VirtualMachineRecord& record) const;
  v1::PasidBindingStatus::State StateOf(absl::string_view name,
                                        const PasidBindingRecord& record) const;

 private:
  // The stored answers of one scope.
  struct RequestScope {
    std::map<int64_t, std::string> by_age;
    size_t bytes = 0;
  };

  absl::Status ApplyHost(const StoreEvent& event, absl::string_view id, StateChange* change);
  absl::Status ApplyVirtualMachine(const StoreEvent& event, const std::string& name,
                                   StateChange* change);
  absl::Status ApplyPasidBinding(const StoreEvent& event, const std::string& name,
                                 StateChange* change);
  absl::Status ApplyObservedHost(const StoreEvent& event, absl::string_view id,
                                 std::vector<StateChange>* changes);
  absl::Status ApplyHostEvents(const StoreEvent& event, absl::string_view id);
  absl::Status ApplyHostFence(const StoreEvent& event, absl::string_view id,
                              std::vector<StateChange>* changes);
  // A host and all that is placed there, of which something else is known now.
  void AddChangesOf(absl::string_view host, bool with_content, const StoreEvent& event,
                    std::vector<StateChange>* changes) const;
  absl::Status ApplyObservedDevice(const StoreEvent& event, absl::string_view rest,
                                   StateChange* change);
  absl::Status ApplyObservedVirtualMachine(const StoreEvent& event, const std::string& name,
                                           StateChange* change);
  absl::Status ApplyObservedPasidBinding(const StoreEvent& event, const std::string& name,
                                         StateChange* change);
  absl::Status ApplyDeparture(const StoreEvent& event, std::vector<StateChange>* changes);
  absl::Status ApplyClaim(const StoreEvent& event, absl::string_view kind, absl::string_view rest);
  absl::Status ApplyEpoch(const StoreEvent& event, absl::string_view host);
  absl::Status ApplyRequest(const StoreEvent& event);
  // What a binding of the machine on that rung shows, by what is known of its host.
  v1::PasidBindingStatus::State StateOn(const VirtualMachineRecord& machine,
                                        v1::PasidBindingStatus::State rung) const;
  absl::Status ApplyRunEnd(const StoreEvent& event);
  bool IsHostSilent(absl::string_view host_name) const;
  bool IsHostFenced(absl::string_view host_name) const;

  int64_t head_revision_ = 0;
  Records<HostRecord> hosts_;
  Records<VirtualMachineRecord> virtual_machines_;
  BindingTable pasid_bindings_;
  Records<DepartureRecord> departures_;  // by the machine's name
  // uid -> the name, which is the key of the map above.
  absl::flat_hash_map<std::string, const std::string*> virtual_machine_by_uid_;
  absl::flat_hash_map<std::string, HostClaims> claims_;  // by host
  absl::flat_hash_map<std::string, EpochRecord> epochs_;
  std::set<int64_t> run_ends_;
  absl::flat_hash_map<std::string, RequestRecord> requests_;
  absl::flat_hash_map<std::string, RequestScope> request_scopes_;
};

// Nothing was heard of it for so long that what its kernel holds is not known.
bool IsSilent(const HostRecord& host);

// The state that a host's resource shows.
v1::HostStatus::State StateOf(const HostRecord& record);

// A row as the API shows it; the view's own functions above add what depends on other rows.
// The record's revision becomes metadata.revision.
v1::VirtualMachine RenderVirtualMachine(absl::string_view name, const VirtualMachineRecord& record);
v1::PasidBinding RenderPasidBinding(absl::string_view name, const PasidBindingRecord& record);

// Why nothing is programmed on a fenced host, for whoever looks at what is placed there.
std::string FenceMessage(const v1::HostFence& fence);

// The etag of a stored row: changes with anything in it.
std::string Etag(const google::protobuf::Message& row);

}  // namespace nestor::server
