// Stored rows: what is written is read back, a flipped bit is noticed, and rows of any
// content are refused or become a view that can be listed.
#include <google/protobuf/stubs/logging.h>

#include <numeric>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "api/support/errors.h"
#include "server/core/host_intent.h"
#include "server/core/list_query.h"
#include "server/core/view.h"
#include "server/store/row_format.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using server::View;

void CheckRow(const std::string& key, int64_t revision, const std::string& value, size_t bit) {
  const std::string stored_key = server::DataKey(key);
  std::string bytes = server::EncodeRow(stored_key, revision, value);
  const auto row = server::DecodeRow(stored_key, bytes);
  FUZZ_CHECK(row.has_value() && row->revision == revision && row->value == value);
  bit %= 8 * bytes.size();
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  FUZZ_CHECK(!server::DecodeRow(stored_key, bytes).has_value());

  // Bytes that happen to be a row are the row that would be written.
  if (const auto found = server::DecodeRow(stored_key, value)) {
    FUZZ_CHECK(server::EncodeRow(stored_key, found->revision, found->value) == value);
  }
}

template <typename Request>
void CheckList(const View& view, const std::string& parent) {
  Request request;
  if constexpr (!std::is_same_v<Request, v1::ListHostsRequest>) request.set_parent(parent);
  request.set_page_size(1);
  for (int pages = 0;; ++pages) {
    const auto page = List(view, request);
    FUZZ_CHECK(page.ok() && pages < 10'000);
    if (page->next_page_token().empty()) return;
    request.set_page_token(page->next_page_token());
  }
}

// All that is read of a view while it serves.
void CheckView(const View& view) {
  CheckList<v1::ListHostsRequest>(view, "");
  CheckList<v1::ListDevicesRequest>(view, "hosts/-");
  CheckList<v1::ListVirtualMachinesRequest>(view, "projects/-");
  CheckList<v1::ListPasidBindingsRequest>(view, "projects/-/virtualMachines/-");
  v1::ListPasidBindingsRequest filtered;
  filtered.set_parent("projects/-/virtualMachines/-");
  filtered.set_filter("host=h1");
  FUZZ_CHECK(List(view, filtered).ok());
  for (const auto& [host, record] : view.hosts()) server::IntentOfHost(view, host);
  int64_t visited = 0;
  std::string last;
  view.pasid_bindings().Visit("", [&](const std::string& name, auto read) {
    FUZZ_CHECK(last < name && view.FindPasidBinding(name)->Rung() == read().Rung());
    server::HostOfResource(view, name);
    last = name;
    ++visited;
    return true;
  });
  const server::BindingCounts bindings = view.CountStates().bindings;
  FUZZ_CHECK(std::accumulate(bindings.begin(), bindings.end(), int64_t{0}) == visited);
}

}  // namespace

// A list of commits of one row each: its key, whether it is deleted, its value.
void FuzzStoredRow(absl::string_view bytes) {
  google::protobuf::SetLogHandler(nullptr);  // it writes a line for each text that is no UTF-8
  FuzzInput input(bytes);
  View view;
  std::vector<server::StateChange> changes;
  for (int64_t revision = 1; !input.empty(); ++revision) {
    server::StoreEvent event{revision, input.Text(), std::nullopt};
    const size_t bit = input.Number<uint16_t>();
    if (input.Bool()) {
      event.value = input.Text();
      CheckRow(event.key, revision, *event.value, bit);
    }
    const absl::Status status = view.Apply(event, &changes);
    if (!status.ok()) {
      // A server that finds such a row does not start.
      FUZZ_CHECK(ErrorReason(status) == "STORE_CORRUPT" ||
                 ErrorReason(status) == "STORE_INCOMPATIBLE");
      return;
    }
  }
  CheckView(view);
}

}  // namespace nestor::fuzz
