#include "server/core/list_query.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"

namespace nestor::server {
namespace {

constexpr size_t kMaxFilterLength = 2048;
constexpr size_t kMaxTerms = 32;
constexpr int32_t kDefaultPage = 100;
constexpr int32_t kMaxPage = 1000;

struct Term {
  std::string key;
  bool equal = true;
  std::string value;
};

// What a term's key names on a resource; empty where it has none of it.
using Lookup = std::function<std::string(absl::string_view key)>;

absl::StatusOr<std::vector<Term>> ParseFilter(absl::string_view filter) {
  std::vector<Term> terms;
  if (absl::StripAsciiWhitespace(filter).empty()) return terms;
  if (filter.size() > kMaxFilterLength) {
    return absl::InvalidArgumentError("a filter has at most 2048 characters");
  }
  for (absl::string_view text : absl::StrSplit(filter, " AND ")) {
    text = absl::StripAsciiWhitespace(text);
    const size_t equal = text.find('=');
    if (equal == absl::string_view::npos || equal == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", Printable(text), "\" is not KEY=VALUE or KEY!=VALUE"));
    }
    const bool negated = text[equal - 1] == '!';
    Term term{std::string(absl::StripAsciiWhitespace(text.substr(0, equal - (negated ? 1 : 0)))),
              !negated, std::string(absl::StripAsciiWhitespace(text.substr(equal + 1)))};
    if (term.value.find_first_of("= \"'()<>!") != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("value \"", Printable(term.value),
                                                     "\" holds a character that a filter "
                                                     "cannot compare; join terms by AND"));
    }
    terms.push_back(std::move(term));
    if (terms.size() > kMaxTerms) {
      return absl::InvalidArgumentError("a filter has at most 32 terms");
    }
  }
  return terms;
}

bool Matches(const std::vector<Term>& terms, const Lookup& lookup) {
  for (const Term& term : terms) {
    if ((lookup(term.key) == term.value) != term.equal) return false;
  }
  return true;
}

template <typename Resource>
std::string LabelOf(const Resource& resource, absl::string_view key) {
  if (!absl::ConsumePrefix(&key, "label.")) return "";
  auto it = resource.metadata().labels().find(std::string(key));
  return it != resource.metadata().labels().end() ? it->second : "";
}

absl::string_view WithoutPrefix(absl::string_view text, absl::string_view prefix) {
  absl::ConsumePrefix(&text, prefix);
  return text;
}

uint64_t Hash(absl::string_view text) {
  // FNV-1a: tells tokens of another query or made up by hand; it is no secret.
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

// "{hash of query and position}{position}", base64.
std::string MakeToken(absl::string_view query, absl::string_view position) {
  const uint64_t check = Hash(absl::StrCat(query, "\n", position));
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

// Walks `items` (an ordered map by name) from after `position`, adds what `add` accepts until
// the page is full; the token of the next page, empty at the end. `in_range` ends the walk.
template <typename Map, typename InRange, typename Add>
std::string FillPage(const Map& items, const std::string& position, const std::string& begin,
                     absl::string_view query, int32_t page_size, InRange in_range, Add add) {
  const int32_t limit = page_size == 0 ? kDefaultPage : std::min(page_size, kMaxPage);
  int32_t count = 0;
  std::string last;
  auto it = position.empty() ? items.lower_bound(begin) : items.upper_bound(position);
  for (; it != items.end() && in_range(it->first); ++it) {
    if (!add(it->first, it->second, count == limit)) continue;
    if (count == limit) return MakeToken(query, last);
    ++count;
    last = it->first;
  }
  return "";
}

}  // namespace

absl::Status CheckFilter(absl::string_view filter, const std::vector<absl::string_view>& keys) {
  auto terms = ParseFilter(filter);
  if (!terms.ok()) return terms.status();
  for (const Term& term : *terms) {
    if (absl::StartsWith(term.key, "label.")) continue;
    if (std::find(keys.begin(), keys.end(), term.key) == keys.end()) {
      return absl::InvalidArgumentError(absl::StrCat("\"", Printable(term.key), "\" is not one of ",
                                                     absl::StrJoin(keys, ", "), ", label.KEY"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ListHostsResponse> List(const View& view, const v1::ListHostsRequest& request) {
  ASSIGN_OR_RETURN(const auto terms, ParseFilter(request.filter()));
  const std::string query = absl::StrCat("hosts\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  v1::ListHostsResponse response;
  auto add = [&](const std::string& id, const HostRecord& record, bool full) {
    if (record.revision == 0) return false;
    v1::Host host = view.HostResource(id);
    const bool matches = Matches(terms, [&](absl::string_view key) {
      if (key != "state") return LabelOf(host, key);
      return std::string(
          WithoutPrefix(v1::HostStatus::State_Name(host.status().state()), "STATE_"));
    });
    if (matches && !full) *response.add_hosts() = std::move(host);
    return matches;
  };
  response.set_next_page_token(FillPage(
      view.hosts(), position, "", query, request.page_size(),
      [](const std::string&) { return true; }, add));
  response.set_revision(view.head_revision());
  return response;
}

absl::StatusOr<v1::ListDevicesResponse> List(const View& view,
                                             const v1::ListDevicesRequest& request) {
  ASSIGN_OR_RETURN(const auto terms, ParseFilter(request.filter()));
  ASSIGN_OR_RETURN(const std::string only_host, ParseHostParent(request.parent()));
  const std::string query = absl::StrCat(request.parent(), "\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  const int32_t limit =
      request.page_size() == 0 ? kDefaultPage : std::min(request.page_size(), kMaxPage);
  v1::ListDevicesResponse response;
  // The position is the name of the last device; its host is where to go on.
  const std::pair<std::string, std::string> from =
      position.empty()
          ? std::pair<std::string, std::string>(only_host, "")
          : std::pair<std::string, std::string>(absl::StrSplit(position, absl::MaxSplits('/', 1)));
  for (auto host = view.hosts().lower_bound(from.first); host != view.hosts().end(); ++host) {
    if (!only_host.empty() && host->first != only_host) break;
    const auto& devices = host->second.devices;
    auto it = host->first == from.first ? devices.upper_bound(from.second) : devices.begin();
    for (; it != devices.end(); ++it) {
      const bool matches = Matches(terms, [&](absl::string_view key) {
        return key == "host" ? host->first : key == "driver" ? it->second.driver() : "";
      });
      if (!matches) continue;
      if (response.devices_size() == limit) {
        const DeviceName last = *DeviceName::Parse(response.devices(limit - 1).name());
        response.set_next_page_token(MakeToken(query, absl::StrCat(last.host, "/", last.bdf)));
        return response;
      }
      *response.add_devices() = view.DeviceResource(host->first, it->first);
    }
  }
  return response;
}

absl::StatusOr<v1::ListVirtualMachinesResponse> List(
    const View& view, const v1::ListVirtualMachinesRequest& request) {
  ASSIGN_OR_RETURN(const auto terms, ParseFilter(request.filter()));
  ASSIGN_OR_RETURN(const std::string project, ParseProjectParent(request.parent()));
  const std::string query = absl::StrCat(request.parent(), "\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  const std::string begin = project.empty() ? "" : absl::StrCat("projects/", project, "/");
  v1::ListVirtualMachinesResponse response;
  auto add = [&](const std::string& name, const VirtualMachineRecord&, bool full) {
    v1::VirtualMachine machine = view.VirtualMachineResource(name);
    const bool matches = Matches(terms, [&](absl::string_view key) {
      if (key == "host") {
        return std::string(WithoutPrefix(machine.spec().placement().host(), "hosts/"));
      }
      if (key != "state") return LabelOf(machine, key);
      return std::string(
          WithoutPrefix(v1::VirtualMachineStatus::State_Name(machine.status().state()), "STATE_"));
    });
    if (matches && !full) *response.add_virtual_machines() = std::move(machine);
    return matches;
  };
  response.set_next_page_token(FillPage(
      view.virtual_machines(), position, begin, query, request.page_size(),
      [&](const std::string& name) { return absl::StartsWith(name, begin); }, add));
  response.set_revision(view.head_revision());
  return response;
}

absl::StatusOr<v1::ListPasidBindingsResponse> List(const View& view,
                                                   const v1::ListPasidBindingsRequest& request) {
  ASSIGN_OR_RETURN(const auto terms, ParseFilter(request.filter()));
  ASSIGN_OR_RETURN(const VirtualMachineName parent, ParseVirtualMachineParent(request.parent()));
  const std::string query = absl::StrCat(request.parent(), "\n", request.filter());
  ASSIGN_OR_RETURN(const std::string position, ParseToken(query, request.page_token()));
  std::string begin = parent.project.empty() ? "" : absl::StrCat("projects/", parent.project, "/");
  const std::string machine_part = absl::StrCat("/virtualMachines/", parent.virtual_machine, "/");
  if (!parent.project.empty() && !parent.virtual_machine.empty()) {
    begin = absl::StrCat(parent.ToString(), "/");
  }
  v1::ListPasidBindingsResponse response;
  auto add = [&](const std::string& name, const PasidBindingRecord&, bool full) {
    if (!parent.virtual_machine.empty() && !absl::StrContains(name, machine_part)) return false;
    v1::PasidBinding binding = view.PasidBindingResource(name);
    const bool matches = Matches(terms, [&](absl::string_view key) {
      if (key == "device") return binding.spec().device();
      if (key == "host") {
        const auto* machine =
            view.FindVirtualMachine(PasidBindingName::Parse(name)->Parent().ToString());
        return machine == nullptr ? "" : std::string(WithoutPrefix(machine->host(), "hosts/"));
      }
      if (key != "state") return LabelOf(binding, key);
      return std::string(
          WithoutPrefix(v1::PasidBindingStatus::State_Name(binding.status().state()), "STATE_"));
    });
    if (matches && !full) *response.add_pasid_bindings() = std::move(binding);
    return matches;
  };
  response.set_next_page_token(FillPage(
      view.pasid_bindings(), position, begin, query, request.page_size(),
      [&](const std::string& name) { return absl::StartsWith(name, begin); }, add));
  response.set_revision(view.head_revision());
  return response;
}

}  // namespace nestor::server
