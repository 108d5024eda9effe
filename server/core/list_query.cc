#include "server/core/list_query.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "server/core/decision.h"

namespace nestor::server {
namespace {

constexpr int32_t kDefaultPage = 100;
constexpr int32_t kMaxPage = 1000;
constexpr int64_t kMaxLookedAt = 10'000;
constexpr size_t kMaxPageBytes = size_t{2} << 20;

// "{check}{position}", base64. The check tells a token of another query, or one made up by
// hand; it is no secret.
std::string MakeToken(absl::string_view query, absl::string_view position) {
  const uint64_t check = Fingerprint(absl::StrCat(query, "\n", position));
  return absl::WebSafeBase64Escape(absl::StrFormat("%016x%s", check, position));
}

absl::StatusOr<std::string> ParseToken(absl::string_view query, const std::string& token) {
  if (token.empty()) return std::string();
  std::string text;
  if (absl::WebSafeBase64Unescape(token, &text) && text.size() > 16) {
    std::string position = text.substr(16);
    if (MakeToken(query, position) == token) return position;
  }
  return errors::FieldInvalid("page_token",
                              "is not one that this list gave out for this parent and filter");
}

// A page being filled. It is over when it has a next_page_token.
class Page {
 public:
  Page(std::string query, int32_t page_size)
      : query_(std::move(query)),
        limit_(page_size == 0 ? kDefaultPage : std::min(page_size, kMaxPage)) {}

  // Whether the page still has time and bytes for the resource at `position`.
  bool LookAt(absl::string_view position) {
    if (next_page_token_.empty() && (looked_at_ >= kMaxLookedAt || bytes_ >= kMaxPageBytes)) End();
    if (!next_page_token_.empty()) return false;
    ++looked_at_;
    before_ = std::exchange(position_, std::string(position));
    return true;
  }

  // Takes the resource last looked at, which `make` makes, if the page is not full.
  template <typename Resource, typename Make>
  void Take(google::protobuf::RepeatedPtrField<Resource>* resources, Make make) {
    if (resources->size() == limit_) {
      position_ = before_;
      return End();
    }
    *resources->Add() = make();
    bytes_ += (resources->end() - 1)->ByteSizeLong();
  }

  // What was done cost as much as looking at so many more.
  void Charge(int64_t count) { looked_at_ += count; }

  const std::string& next_page_token() const { return next_page_token_; }

 private:
  void End() { next_page_token_ = MakeToken(query_, position_); }

  const std::string query_;
  const int32_t limit_;
  int64_t looked_at_ = 0;
  size_t bytes_ = 0;
  std::string position_;  // last looked at
  std::string before_;    // the one before
  std::string next_page_token_;
};

// Calls `visit(name, record)` for the records after `position` whose name begins with `prefix`,
// while the page has room.
template <typename Records, typename Visit>
void ForEach(const Records& records, const std::string& position, const std::string& prefix,
             Page* page, Visit visit) {
  auto it = position.empty() ? records.lower_bound(prefix) : records.upper_bound(position);
  for (; it != records.end() && absl::StartsWith(it->first, prefix); ++it) {
    if (!page->LookAt(it->first)) return;
    visit(it->first, it->second);
  }
}

// The first name that can follow `name`.
std::string After(const std::string& name) { return name + '\0'; }

}  // namespace

const FilterKeys& HostFilterKeys() {
  static const FilterKeys* const kKeys =
      new FilterKeys{{"state"}, true, v1::HostStatus::State_descriptor()};
  return *kKeys;
}

const FilterKeys& DeviceFilterKeys() {
  static const FilterKeys* const kKeys = new FilterKeys{{"host", "driver"}, false, nullptr};
  return *kKeys;
}

const FilterKeys& VirtualMachineFilterKeys() {
  static const FilterKeys* const kKeys =
      new FilterKeys{{"host", "state"}, true, v1::VirtualMachineStatus::State_descriptor()};
  return *kKeys;
}

const FilterKeys& PasidBindingFilterKeys() {
  static const FilterKeys* const kKeys =
      new FilterKeys{{"host", "device", "state"}, true, v1::PasidBindingStatus::State_descriptor()};
  return *kKeys;
}

absl::StatusOr<v1::ListHostsResponse> List(const View& view, const v1::ListHostsRequest& request) {
  ASSIGN_OR_RETURN(const Filter filter, Filter::Parse(request.filter(), HostFilterKeys()));
  const std::string query = absl::StrCat("hosts\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  v1::ListHostsResponse response;
  Page page(query, request.page_size());
  ForEach(view.hosts(), position, "", &page, [&](const std::string& id, const HostRecord& record) {
    const bool wanted = filter.Matches(record.row.metadata().labels(), [&](absl::string_view) {
      return ShortStateName(*v1::HostStatus::State_descriptor(), StateOf(record));
    });
    if (record.revision > 0 && wanted) {
      page.Take(response.mutable_hosts(), [&] { return view.HostResource(id); });
    }
  });
  response.set_next_page_token(page.next_page_token());
  response.set_revision(view.head_revision());
  return response;
}

absl::StatusOr<v1::ListDevicesResponse> List(const View& view,
                                             const v1::ListDevicesRequest& request) {
  ASSIGN_OR_RETURN(const Filter filter, Filter::Parse(request.filter(), DeviceFilterKeys()));
  ASSIGN_OR_RETURN(const std::string only_host, ParseHostParent(request.parent()));
  const std::string query = absl::StrCat(request.parent(), "\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  // "{host}/{bdf}"; a host id holds no slash.
  const std::pair<std::string, std::string> from =
      absl::StrSplit(position, absl::MaxSplits('/', 1));
  v1::ListDevicesResponse response;
  Page page(query, request.page_size());
  auto host = view.hosts().lower_bound(position.empty() ? only_host : from.first);
  for (; host != view.hosts().end(); ++host) {
    if (!only_host.empty() && host->first != only_host) break;
    const auto& devices = host->second.devices;
    auto it = host->first == from.first ? devices.upper_bound(from.second) : devices.begin();
    for (; it != devices.end(); ++it) {
      if (!page.LookAt(absl::StrCat(host->first, "/", it->first))) break;
      const bool wanted = filter.Matches({}, [&](absl::string_view key) {
        return key == "host" ? host->first : it->second.driver();
      });
      if (wanted && host->second.revision > 0) {
        page.Take(response.mutable_devices(),
                  [&] { return view.DeviceResource(host->first, it->first); });
      }
    }
    if (!page.next_page_token().empty()) break;
  }
  response.set_next_page_token(page.next_page_token());
  return response;
}

absl::StatusOr<v1::ListVirtualMachinesResponse> List(
    const View& view, const v1::ListVirtualMachinesRequest& request) {
  ASSIGN_OR_RETURN(const Filter filter,
                   Filter::Parse(request.filter(), VirtualMachineFilterKeys()));
  ASSIGN_OR_RETURN(const std::string project, ParseProjectParent(request.parent()));
  const std::string query = absl::StrCat(request.parent(), "\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  const std::string prefix = project.empty() ? "" : absl::StrCat("projects/", project, "/");
  v1::ListVirtualMachinesResponse response;
  Page page(query, request.page_size());
  ForEach(view.virtual_machines(), position, prefix, &page,
          [&](const std::string& name, const VirtualMachineRecord& record) {
            const bool wanted =
                filter.Matches(record.row.metadata().labels(), [&](absl::string_view key) {
                  return key == "host"
                             ? record.host_id()
                             : ShortStateName(*v1::VirtualMachineStatus::State_descriptor(),
                                              view.StateOf(record));
                });
            if (!wanted) return;
            page.Take(response.mutable_virtual_machines(), [&] {
              v1::VirtualMachine machine = view.VirtualMachineResource(name);
              page.Charge(machine.status().bindings());  // they were counted
              return machine;
            });
          });
  response.set_next_page_token(page.next_page_token());
  response.set_revision(view.head_revision());
  return response;
}

absl::StatusOr<v1::ListPasidBindingsResponse> List(const View& view,
                                                   const v1::ListPasidBindingsRequest& request) {
  ASSIGN_OR_RETURN(const Filter filter, Filter::Parse(request.filter(), PasidBindingFilterKeys()));
  ASSIGN_OR_RETURN(const VirtualMachineName parent, ParseVirtualMachineParent(request.parent()));
  const std::string query = absl::StrCat(request.parent(), "\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  std::string prefix;
  if (!parent.project.empty()) prefix = absl::StrCat("projects/", parent.project, "/");
  const std::string machine_part = absl::StrCat("/virtualMachines/", parent.virtual_machine, "/");
  if (!prefix.empty() && !parent.virtual_machine.empty()) {
    prefix = absl::StrCat(parent.ToString(), "/");
  }
  auto lookup = [&](const std::string& name, const PasidBindingRecord& record,
                    absl::string_view key) -> std::string {
    if (key == "device") return record.row.spec().device();
    if (key == "state") {
      return ShortStateName(*v1::PasidBindingStatus::State_descriptor(),
                            view.StateOf(name, record));
    }
    const auto* machine =
        view.FindVirtualMachine(PasidBindingName::Parse(name)->Parent().ToString());
    return machine != nullptr ? machine->host_id() : "";
  };
  v1::ListPasidBindingsResponse response;
  Page page(query, request.page_size());
  auto visit = [&](const std::string& name, absl::FunctionRef<PasidBindingRecord()> read) {
    if (!absl::StartsWith(name, prefix) || !page.LookAt(name)) return false;
    if (!parent.virtual_machine.empty() && !absl::StrContains(name, machine_part)) return true;
    const PasidBindingRecord record = read();
    const bool wanted = filter.Matches(record.row.metadata().labels(), [&](absl::string_view key) {
      return lookup(name, record, key);
    });
    if (wanted) {
      page.Take(response.mutable_pasid_bindings(),
                [&] { return view.PasidBindingResource(name, record); });
    }
    return true;
  };
  view.pasid_bindings().Visit(position.empty() ? prefix : After(position), visit);
  response.set_next_page_token(page.next_page_token());
  response.set_revision(view.head_revision());
  return response;
}

}  // namespace nestor::server
