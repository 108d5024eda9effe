#include "server/core/intent_draft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::Pair;

storage::v1::ClaimRow HeldBy(const std::string& holder) {
  storage::v1::ClaimRow row;
  row.set_holder(holder);
  return row;
}

class IntentDraftTest : public ::testing::Test {
 protected:
  Transaction Finish() { return std::move(draft_).Finish(nullptr).transaction; }

  TestView state_;
  IntentDraft draft_{state_.view(), TestTime(1)};
};

TEST_F(IntentDraftTest, LastChangeOfAKeyCounts) {
  draft_.Put("b", HeldBy("first"));
  draft_.Delete("a");
  draft_.Delete("b");
  draft_.Put("a", HeldBy("again"));
  draft_.Put("c", HeldBy("first"));
  draft_.Put("c", HeldBy("second"));
  const Transaction transaction = Finish();
  EXPECT_THAT(transaction.puts, ElementsAre(Pair("a", HeldBy("again").SerializeAsString()),
                                            Pair("c", HeldBy("second").SerializeAsString())));
  EXPECT_THAT(transaction.deletes, ElementsAre("b"));
}

TEST_F(IntentDraftTest, FirstRelianceOnAKeyCounts) {
  draft_.RelyOn("b", 7);
  draft_.RelyOn("a", 3);
  draft_.RelyOn("b", 0);
  draft_.Delete("b");
  const Transaction transaction = Finish();
  EXPECT_THAT(transaction.compares,
              ElementsAre(AllOf(Field(&Compare::key, "a"), Field(&Compare::revision, 3)),
                          AllOf(Field(&Compare::key, "b"), Field(&Compare::revision, 7))));
}

TEST_F(IntentDraftTest, WhatChangesNothingReliesOnNothing) {
  draft_.RelyOn("a", 3);
  EXPECT_THAT(Finish().compares, IsEmpty());
}

}  // namespace
}  // namespace nestor::server
