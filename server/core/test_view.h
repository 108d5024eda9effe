// A view for tests: fed by rows, and by decisions as a store would commit them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "google/rpc/error_details.pb.h"
#include "nestor/storage/v1/rows.pb.h"
#include "nestor/v1/resources.pb.h"
#include "server/core/decision.h"
#include "server/core/intent.h"
#include "server/core/keys.h"
#include "server/core/view.h"

namespace nestor::server {

inline constexpr char kHost[] = "hosts/h1";
inline constexpr char kHostId[] = "h1";
inline constexpr char kMachine[] = "projects/p/virtualMachines/vm";
inline constexpr char kDevice[] = "0000:3b:00.0";
inline constexpr char kOtherDevice[] = "0000:5e:00.0";

// Name of a binding of kMachine.
inline std::string BindingName(absl::string_view binding) {
  return absl::StrCat(kMachine, "/pasidBindings/", binding);
}

inline absl::Time TestTime(int64_t seconds) { return absl::FromUnixSeconds(seconds); }

// A new resource's wanted form.
inline v1::VirtualMachine WantedMachine(const std::vector<std::string>& devices = {kDevice},
                                        const std::string& name = kMachine,
                                        const std::string& host = kHost) {
  v1::VirtualMachine machine;
  machine.set_name(name);
  machine.mutable_spec()->mutable_placement()->set_host(host);
  for (const std::string& device : devices) {
    machine.mutable_spec()->mutable_placement()->add_devices(device);
  }
  return machine;
}

inline v1::PasidBinding WantedBinding(const std::string& name, uint32_t pasid,
                                      const std::string& device = kDevice) {
  v1::PasidBinding binding;
  binding.set_name(name);
  binding.mutable_spec()->set_device(device);
  binding.mutable_spec()->set_pasid(pasid);
  v1::PageTable& table = *binding.mutable_spec()->mutable_page_table();
  table.set_format(v1::PageTable::FORMAT_VTD_S1);
  table.set_root(0x1000);
  table.set_address_width(48);
  return binding;
}

inline v1::PasidBinding WantedAnyOf(const std::string& name, uint32_t first, uint32_t last,
                                    const std::string& device = kDevice) {
  v1::PasidBinding binding = WantedBinding(name, 1, device);
  binding.mutable_spec()->mutable_any_of()->set_first(first);
  binding.mutable_spec()->mutable_any_of()->set_last(last);
  return binding;
}

// Field paths of a FIELD_INVALID error, in order.
inline std::vector<std::string> WrongFields(const absl::Status& status) {
  std::vector<std::string> fields;
  const google::rpc::Status details = ToRpcStatus(status);
  for (const auto& detail : details.details()) {
    google::rpc::BadRequest bad_request;
    if (!detail.UnpackTo(&bad_request)) continue;
    for (const auto& violation : bad_request.field_violations()) {
      fields.push_back(violation.field());
    }
  }
  return fields;
}

// A request refused for this one field; a hostile value is shown only in a form that is safe to
// print.
inline void ExpectRefused(const absl::Status& status, const std::string& field) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(status), "FIELD_INVALID");
  EXPECT_THAT(WrongFields(status), ::testing::ElementsAre(field)) << status;
  EXPECT_LT(status.message().size(), 1000u);
  for (const char c : status.message()) {
    EXPECT_TRUE(c >= 0x20 && c < 0x7f) << static_cast<int>(c);
  }
}

// Keeps every row with its revision, so that it can refuse what a store would refuse.
class TestView {
 public:
  const View& view() const { return view_; }
  const std::map<std::string, KeyValue>& rows() const { return rows_; }
  bool HasRow(const std::string& key) const { return rows_.contains(key); }

  // Mints "uid-1", "uid-2", ...
  UidSource uids() {
    return [this] { return absl::StrCat("uid-", ++last_uid_); };
  }

  // One row in a commit of its own.
  void Put(const std::string& key, const google::protobuf::Message& row) {
    Transaction transaction;
    transaction.puts.emplace_back(key, row.SerializeAsString());
    Write(transaction);
  }
  void Delete(const std::string& key) {
    Transaction transaction;
    transaction.deletes.push_back(key);
    Write(transaction);
  }

  // As Store::Commit: ABORTED where a compare fails.
  absl::StatusOr<int64_t> Commit(const Transaction& transaction) {
    for (const Compare& compare : transaction.compares) {
      if (!Holds(compare)) return absl::AbortedError(compare.key);
    }
    if (!transaction.puts.empty() || !transaction.deletes.empty()) Write(transaction);
    return view_.head_revision();
  }

  // Commits a decision and stamps its reply; what the decision or the commit refused.
  template <typename Reply>
  absl::StatusOr<Reply> Do(const absl::StatusOr<Decision>& decision) {
    if (!decision.ok()) return decision.status();
    const auto revision = Commit(decision->transaction);
    if (!revision.ok()) return revision.status();
    StampRevision(*revision, decision->reply.get());
    return dynamic_cast<const Reply&>(*decision->reply);
  }

  // Rows as the server writes them.
  void AddHost(const std::string& host = kHostId) {
    storage::v1::HostRow row;
    row.mutable_metadata()->set_schema(1);
    row.mutable_metadata()->set_uid("uid-of-" + host);
    row.mutable_metadata()->set_generation(1);
    Put(keys::Host(host), row);
  }
  void SetHostState(v1::HostStatus::State state, const std::string& host = kHostId) {
    storage::v1::HostObservedRow row;
    row.set_uid("uid-of-" + host);
    row.mutable_status()->set_state(state);
    Put(keys::HostObserved(host), row);
  }
  void AddDevice(const std::string& bdf, const std::string& host = kHostId,
                 uint32_t pasid_bits = 20) {
    storage::v1::DeviceObservedRow row;
    row.mutable_status()->set_driver("vfio-pci");
    row.mutable_status()->set_pasid_bits(pasid_bits);
    row.mutable_status()->set_nest_granularity(v1::NEST_GRANULARITY_PASID);
    Put(keys::DeviceObserved(host, bdf), row);
  }
  // A host whose agent has reported both devices.
  void AddConnectedHost(const std::string& host = kHostId) {
    AddHost(host);
    AddDevice(kDevice, host);
    AddDevice(kOtherDevice, host);
    SetHostState(v1::HostStatus::STATE_CONNECTED, host);
  }

  absl::StatusOr<v1::VirtualMachine> CreateMachine(const v1::VirtualMachine& machine) {
    v1::CreateVirtualMachineRequest request;
    *request.mutable_virtual_machine() = machine;
    return Do<v1::VirtualMachine>(CreateVirtualMachine(view_, TestTime(100), uids(), request));
  }
  absl::StatusOr<v1::PasidBinding> CreateBinding(const v1::PasidBinding& binding) {
    v1::CreatePasidBindingRequest request;
    *request.mutable_pasid_binding() = binding;
    return Do<v1::PasidBinding>(CreatePasidBinding(view_, TestTime(100), uids(), request));
  }
  absl::StatusOr<v1::PasidBinding> DeleteBinding(const std::string& name) {
    v1::DeletePasidBindingRequest request;
    request.set_name(name);
    return Do<v1::PasidBinding>(DeletePasidBinding(view_, TestTime(200), request));
  }
  // What the host's agent says of a binding.
  void Observe(const std::string& name, const v1::PasidBindingStatus& status) {
    storage::v1::PasidBindingObservedRow row;
    row.set_uid(view_.FindPasidBinding(name)->row.metadata().uid());
    *row.mutable_status() = status;
    Put(keys::PasidBindingObserved(*PasidBindingName::Parse(name)), row);
  }

 private:
  bool Holds(const Compare& compare) const {
    if (compare.kind == Compare::Kind::kUnchanged) {
      auto it = rows_.find(compare.key);
      return (it != rows_.end() ? it->second.mod_revision : 0) == compare.revision;
    }
    for (auto it = rows_.lower_bound(compare.key); it != rows_.end(); ++it) {
      if (!compare.range_end.empty() && it->first >= compare.range_end) break;
      if (it->second.mod_revision > compare.revision) return false;
    }
    return true;
  }

  void Write(const Transaction& transaction) {
    const int64_t revision = view_.head_revision() + 1;
    for (const auto& [key, value] : transaction.puts) {
      rows_[key] = {key, value, revision};
      Feed({revision, key, value});
    }
    for (const std::string& key : transaction.deletes) {
      if (rows_.erase(key) > 0) Feed({revision, key, std::nullopt});
    }
  }

  void Feed(const StoreEvent& event) {
    std::vector<StateChange> changes;
    // A row that a decision wrote always parses.
    if (!view_.Apply(event, &changes).ok()) std::abort();
  }

  View view_;
  std::map<std::string, KeyValue> rows_;
  int last_uid_ = 0;
};

}  // namespace nestor::server
