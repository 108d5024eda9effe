// Filters and page tokens: a filter and its opposite share out all there is, pages put
// together are the list, and a token that no list gave is refused.
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "server/core/list_query.h"
#include "server/core/test_view.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using server::View;

constexpr int kMachines = 6;

void AddHostWithMachines(const std::string& host, server::TestView* store) {
  store->AddConnectedHost(host);
  for (int i = 0; i < kMachines; ++i) {
    const std::string name = absl::StrCat("projects/p", i % 2, "/virtualMachines/", host, "-", i);
    const std::string device = absl::StrCat("0000:3b:00.", i);
    store->AddDevice(device, host);
    v1::VirtualMachine machine = server::WantedMachine({device}, name, "hosts/" + host);
    (*machine.mutable_metadata()->mutable_labels())["tier"] = i % 2 == 0 ? "web" : "db";
    FUZZ_CHECK(store->CreateMachine(machine).ok());
    v1::PasidBinding binding = server::WantedBinding(name + "/pasidBindings/b", 7, device);
    (*binding.mutable_metadata()->mutable_labels())["tier"] = i % 2 == 0 ? "web" : "db";
    FUZZ_CHECK(store->CreateBinding(binding).ok());
  }
}

const View& SampleView() {
  static const auto* const kStore = [] {
    auto* store = new server::TestView();
    AddHostWithMachines("h1", store);
    AddHostWithMachines("h2", store);
    store->SetHostState(v1::HostStatus::STATE_UNKNOWN, "h2");
    return store;
  }();
  return kStore->view();
}

const auto& Resources(const v1::ListHostsResponse& page) { return page.hosts(); }
const auto& Resources(const v1::ListDevicesResponse& page) { return page.devices(); }
const auto& Resources(const v1::ListVirtualMachinesResponse& page) {
  return page.virtual_machines();
}
const auto& Resources(const v1::ListPasidBindingsResponse& page) { return page.pasid_bindings(); }

// Names in all pages from the first on.
template <typename Request>
std::set<std::string> ListAll(Request request) {
  std::set<std::string> names;
  request.clear_page_token();
  do {
    const auto page = List(SampleView(), request);
    FUZZ_CHECK(page.ok());
    FUZZ_CHECK(request.page_size() == 0 || Resources(*page).size() <= request.page_size());
    for (const auto& resource : Resources(*page)) {
      FUZZ_CHECK(names.empty() || resource.name() > *names.rbegin());
      names.insert(resource.name());
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return names;
}

// Of a filter of one term, those that it leaves out are those that its opposite takes.
template <typename Request>
void CheckOpposite(Request request, const std::set<std::string>& taken) {
  std::string opposite = request.filter();
  const size_t equal = opposite.find('=');
  if (equal == std::string::npos || opposite.find(" AND ") != std::string::npos) return;
  if (opposite[equal - 1] == '!') {
    opposite.erase(equal - 1, 1);
  } else {
    opposite.insert(equal, "!");
  }
  request.set_filter(opposite);
  const std::set<std::string> left_out = ListAll(request);
  request.clear_filter();
  FUZZ_CHECK(taken.size() + left_out.size() == ListAll(request).size());
  for (const std::string& name : taken) FUZZ_CHECK(!left_out.contains(name));
}

template <typename Request>
void CheckToken(const Request& request) {
  const auto page = List(SampleView(), request);
  if (page.ok()) {
    // A token that a list gave can be followed to the end.
    for (const auto& resource : Resources(*page)) FUZZ_CHECK(!resource.name().empty());
  } else {
    FUZZ_CHECK(ErrorReason(page.status()) == "FIELD_INVALID");
  }
}

template <typename Request>
void CheckList(Request request, const std::string& token) {
  const auto first = List(SampleView(), request);
  if (!first.ok()) {
    FUZZ_CHECK(first.status().code() == absl::StatusCode::kInvalidArgument);
    FUZZ_CHECK(first.status().message().size() < 512);
    return;
  }
  const std::set<std::string> names = ListAll(request);
  Request in_one_page = request;
  in_one_page.clear_page_size();
  FUZZ_CHECK(ListAll(in_one_page) == names);
  CheckOpposite(request, names);
  request.set_page_token(token);
  CheckToken(request);
}

}  // namespace

// Kind (h, d, v or b) and page size (a digit), a filter, and on the next line a page token.
void FuzzListQuery(absl::string_view bytes) {
  FuzzInput input(bytes);
  const char kind = input.Number<char>();
  const int page_size = static_cast<int>(input.Below(10));
  const std::string filter = input.Line();
  const std::string token = input.Line();
  auto check = [&](auto request) {
    request.set_page_size(page_size);
    request.set_filter(filter);
    CheckList(request, token);
  };
  if (kind == 'h') return check(v1::ListHostsRequest());
  if (kind == 'd') {
    v1::ListDevicesRequest request;
    request.set_parent("hosts/-");
    return check(request);
  }
  if (kind == 'v') {
    v1::ListVirtualMachinesRequest request;
    request.set_parent("projects/-");
    return check(request);
  }
  v1::ListPasidBindingsRequest request;
  request.set_parent("projects/-/virtualMachines/-");
  check(request);
}

}  // namespace nestor::fuzz
