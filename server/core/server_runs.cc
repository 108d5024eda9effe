#include "server/core/server_runs.h"

#include <set>

#include "server/core/keys.h"

namespace nestor::server {

Transaction BeginRun(const RunsBefore& before) {
  const std::set<int64_t> epochs(before.epoch_revisions.begin(), before.epoch_revisions.end());
  const auto any_epoch_in = [&epochs](int64_t after, int64_t through) {
    const auto first = epochs.upper_bound(after);
    return first != epochs.end() && *first <= through;
  };
  Transaction transaction;
  int64_t previous = 0;
  for (const int64_t end : before.run_ends) {
    if (!any_epoch_in(previous, end)) transaction.deletes.push_back(keys::RunEnd(end));
    previous = end;
  }
  if (!any_epoch_in(previous, before.head_revision)) return Transaction();
  transaction.puts.emplace_back(keys::RunEnd(before.head_revision), "");
  return transaction;
}

}  // namespace nestor::server
