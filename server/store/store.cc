#include "server/store/store.h"

#include <future>
#include <utility>

namespace nestor::server {

absl::StatusOr<int64_t> CommitAndWait(Store& store, Transaction transaction) {
  std::promise<absl::StatusOr<int64_t>> answer;
  store.Commit(std::move(transaction), [&answer](absl::StatusOr<int64_t> revision) {
    answer.set_value(std::move(revision));
  });
  return answer.get_future().get();
}

std::string PrefixEnd(absl::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (!end.empty()) ++end.back();
  return end;
}

}  // namespace nestor::server
