#include "server/core/server_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/keys.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(BeginRun, NewStoreHasNoRunToRemember) {
  const Transaction transaction = BeginRun({});
  EXPECT_THAT(transaction.puts, IsEmpty());
  EXPECT_THAT(transaction.deletes, IsEmpty());
}

TEST(BeginRun, RunThatToldAHostSomethingIsRememberedDurably) {
  const Transaction transaction = BeginRun({10, {}, {4}});
  EXPECT_THAT(transaction.puts, ElementsAre(Pair(keys::RunEnd(10), "")));
  EXPECT_EQ(transaction.durability, Durability::kSynced);
}

TEST(BeginRun, RunWithoutASessionIsNotWorthAWrite) {
  const Transaction transaction = BeginRun({30, {10, 20}, {15}});
  EXPECT_THAT(transaction.puts, IsEmpty());
  EXPECT_THAT(transaction.deletes, IsEmpty());
}

TEST(BeginRun, RunsThatEveryHostHasLeftAreForgotten) {
  const Transaction transaction = BeginRun({40, {10, 20, 30}, {15, 35}});
  EXPECT_THAT(transaction.puts, ElementsAre(Pair(keys::RunEnd(40), "")));
  EXPECT_THAT(transaction.deletes, ElementsAre(keys::RunEnd(10), keys::RunEnd(30)));
}

}  // namespace
}  // namespace nestor::server
