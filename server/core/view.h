// All that the store holds, in memory, with the indexes that decisions need.
//
// Fed by nothing but the store's rows and events, so it is the store as of head_revision().
// Decisions read it; their transactions compare what they relied on, so that a stale view
// costs a retry and never a wrong commit.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nestor/storage/v1/rows.pb.h"
#include "nestor/v1/resources.pb.h"
#include "server/store/store.h"

namespace nestor::server {

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

struct HostRecord {
  storage::v1::HostRow row;
  int64_t revision = 0;  // mod_revision of the row; 0: there is none
  storage::v1::HostObservedRow observed;
  std::map<std::string, v1::DeviceStatus> devices;  // by BDF
  std::set<std::string> virtual_machines;           // resource names
};

struct VirtualMachineRecord {
  storage::v1::VirtualMachineRow row;
  int64_t revision = 0;
  v1::VirtualMachineStatus observed;
  const std::string& host() const { return row.spec().placement().host(); }
};

struct PasidBindingRecord {
  storage::v1::PasidBindingRow row;
  int64_t revision = 0;
  v1::PasidBindingStatus observed;
};

// A claim on a device or on a PASID of a device.
struct ClaimRecord {
  std::string holder;  // resource name
  int64_t revision = 0;
};

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
  // Takes in one event; what it changed, if it is about a resource. DATA_LOSS: the row does
  // not parse. FAILED_PRECONDITION STORE_INCOMPATIBLE: it was written by a newer version.
  absl::Status Apply(const StoreEvent& event, std::vector<StateChange>* changes);

  int64_t head_revision() const { return head_revision_; }

  // Null where there is none. Names are resource names, hosts are ids.
  const HostRecord* FindHost(absl::string_view host) const;
  const VirtualMachineRecord* FindVirtualMachine(absl::string_view name) const;
  const PasidBindingRecord* FindPasidBinding(absl::string_view name) const;
  // The name of the present resource with that uid; empty where there is none.
  std::string VirtualMachineByUid(absl::string_view uid) const;
  std::string PasidBindingByUid(absl::string_view uid) const;

  const std::map<std::string, HostRecord>& hosts() const { return hosts_; }  // by id
  const std::map<std::string, VirtualMachineRecord>& virtual_machines() const {
    return virtual_machines_;
  }
  const std::map<std::string, PasidBindingRecord>& pasid_bindings() const {
    return pasid_bindings_;
  }
  // Names of a machine's bindings, in order.
  std::vector<std::string> BindingsOf(absl::string_view virtual_machine) const;
  bool HasBindings(absl::string_view virtual_machine) const;

  // Empty holder, revision 0: unclaimed.
  ClaimRecord DeviceClaim(absl::string_view host, absl::string_view bdf) const;
  ClaimRecord PasidClaim(absl::string_view host, absl::string_view bdf, uint32_t pasid) const;
  // PASIDs claimed on a device, or (empty bdf) on any device of the host, in order.
  std::set<uint32_t> ClaimedPasids(absl::string_view host, absl::string_view bdf) const;
  EpochRecord Epoch(absl::string_view host) const;
  const RequestRecord* FindRequest(absl::string_view key) const;
  // Keys of the stored answers of a scope, by the revision that wrote them.
  const std::map<int64_t, std::string>& RequestsByAge(absl::string_view scope) const;

  // The resources as the API shows them.
  v1::Host HostResource(absl::string_view host) const;
  v1::Device DeviceResource(absl::string_view host, absl::string_view bdf) const;
  v1::VirtualMachine VirtualMachineResource(absl::string_view name) const;
  v1::PasidBinding PasidBindingResource(absl::string_view name) const;

 private:
  absl::Status ApplyHost(const StoreEvent& event, absl::string_view id, StateChange* change);
  absl::Status ApplyVirtualMachine(const StoreEvent& event, const std::string& name,
                                   StateChange* change);
  absl::Status ApplyPasidBinding(const StoreEvent& event, const std::string& name,
                                 StateChange* change);
  absl::Status ApplyObserved(const StoreEvent& event, absl::string_view kind,
                             absl::string_view rest, StateChange* change);
  absl::Status ApplyRequest(const StoreEvent& event);
  absl::Status ApplyInternal(const StoreEvent& event, absl::string_view kind,
                             absl::string_view rest);
  bool IsHostSilent(absl::string_view host_name) const;

  int64_t head_revision_ = 0;
  std::map<std::string, HostRecord> hosts_;
  std::map<std::string, VirtualMachineRecord> virtual_machines_;
  std::map<std::string, PasidBindingRecord> pasid_bindings_;
  absl::flat_hash_map<std::string, std::string> virtual_machine_by_uid_;
  absl::flat_hash_map<std::string, std::string> pasid_binding_by_uid_;
  std::map<std::string, ClaimRecord, std::less<>> claims_;  // by key: ordered by host, device
  absl::flat_hash_map<std::string, EpochRecord> epochs_;
  absl::flat_hash_map<std::string, RequestRecord> requests_;
  absl::flat_hash_map<std::string, std::map<int64_t, std::string>> requests_by_age_;
};

// A stored row as the API shows it; the view's own functions above add what depends on other
// rows. `revision` is metadata.revision.
v1::Host RenderHost(absl::string_view host, const HostRecord& record);
v1::VirtualMachine RenderVirtualMachine(absl::string_view name, const VirtualMachineRecord& record);
v1::PasidBinding RenderPasidBinding(absl::string_view name, const PasidBindingRecord& record);

// The etag of a stored row: changes with anything in it.
std::string Etag(const google::protobuf::Message& row);

}  // namespace nestor::server
