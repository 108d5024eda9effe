#include "api/support/clock.h"
#include "server/store/rocksdb_store.h"
#include "server/store/store_conformance.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

class RocksDbStoreUnderTest final : public StoreUnderTest {
 public:
  explicit RocksDbStoreUnderTest(RocksDbStoreOptions options) : store_(std::move(options)) {}
  Store& store() override { return *store_; }
  void Reopen() override { store_.Reopen(); }

 private:
  TemporaryStore store_;
};

std::unique_ptr<StoreUnderTest> MakeRocksDbStore(ConformanceLimits limits) {
  RocksDbStoreOptions options = SmallStoreOptions();
  options.max_queued_transactions = limits.max_queued_transactions;
  options.history.max_events = limits.max_history_events;
  return std::make_unique<RocksDbStoreUnderTest>(std::move(options));
}

INSTANTIATE_TEST_SUITE_P(RocksDb, StoreConformance,
                         ::testing::Values(StoreAdapter{"RocksDb", MakeRocksDbStore}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace nestor::server
