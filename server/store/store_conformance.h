// What every adapter of the store port must do, as tests parametrised over the adapter. An
// adapter's own test instantiates StoreConformance with a factory.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "server/store/store.h"

namespace nestor::server {

// Limits that the suite makes small enough to reach.
struct ConformanceLimits {
  size_t max_queued_transactions = 4096;
  size_t max_history_events = 100'000;
};

// An empty store of the adapter, removed when destroyed.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual Store& store() = 0;
  // Closes and opens again what is stored.
  virtual void Reopen() = 0;
};

struct StoreAdapter {
  std::string name;  // of the test instance
  std::function<std::unique_ptr<StoreUnderTest>(ConformanceLimits limits)> make;
};

inline std::ostream& operator<<(std::ostream& out, const StoreAdapter& adapter) {
  return out << adapter.name;
}

class StoreConformance : public ::testing::TestWithParam<StoreAdapter> {
 protected:
  // Makes the store anew.
  void UseLimits(ConformanceLimits limits) { subject_ = GetParam().make(limits); }
  Store& store() { return subject_->store(); }
  void Reopen() { subject_->Reopen(); }

  // Commits and requires success.
  int64_t MustCommit(Transaction transaction) {
    const auto revision = CommitAndWait(store(), std::move(transaction));
    EXPECT_TRUE(revision.ok()) << revision.status();
    return revision.value_or(-1);
  }
  int64_t MustPut(std::string key, std::string value) {
    return MustCommit({{}, {{std::move(key), std::move(value)}}, {}});
  }
  // Reads and requires success.
  std::vector<KeyValue> MustRange(const std::string& begin = "", const std::string& end = "",
                                  size_t limit = 0) {
    const auto rows = store().Range(begin, end, limit);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.value_or(std::vector<KeyValue>());
  }
  std::vector<std::string> MustRangeKeys(const std::string& begin = "", const std::string& end = "",
                                         size_t limit = 0) {
    std::vector<std::string> keys;
    for (const KeyValue& row : MustRange(begin, end, limit)) keys.push_back(row.key);
    return keys;
  }

 private:
  std::unique_ptr<StoreUnderTest> subject_ = GetParam().make({});
};

}  // namespace nestor::server
