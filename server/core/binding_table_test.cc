#include "server/core/binding_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace nestor::server {
namespace {

using State = v1::PasidBindingStatus;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

std::string Name(absl::string_view machine, absl::string_view id) {
  return absl::StrCat("projects/p/virtualMachines/", machine, "/pasidBindings/", id);
}

storage::v1::PasidBindingRow Row(const std::string& uid, int64_t generation = 1) {
  storage::v1::PasidBindingRow row;
  row.mutable_metadata()->set_uid(uid);
  row.mutable_metadata()->set_generation(generation);
  return row;
}

class BindingTableTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, const storage::v1::PasidBindingRow& row) {
    table_.Put(name, ++revision_, row.SerializeAsString(), row);
  }

  void Observe(const std::string& name, State::State state, int64_t generation) {
    State status;
    status.set_state(state);
    status.set_observed_generation(generation);
    storage::v1::PasidBindingObservedRow row;
    *row.mutable_status() = status;
    table_.Observe(name, row);
  }

  std::vector<std::string> NamesFrom(const std::string& from, size_t limit = 100) const {
    std::vector<std::string> names;
    table_.Visit(from, [&](const std::string& name, auto) {
      names.push_back(name);
      return names.size() < limit;
    });
    return names;
  }

  BindingTable table_;
  int64_t revision_ = 0;
};

TEST_F(BindingTableTest, FindsWhatWasPut) {
  Put(Name("m", "a"), Row("uid-a", 3));
  const auto record = table_.Find(Name("m", "a"));
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->row.metadata().uid(), "uid-a");
  EXPECT_EQ(record->revision, 1);
  EXPECT_FALSE(table_.Find(Name("m", "b")).has_value());
  EXPECT_FALSE(table_.Contains(Name("n", "a")));
  EXPECT_FALSE(table_.Contains("a"));
}

// As whole names compare, not as machine ids do: '-' lies before '/'.
TEST_F(BindingTableTest, OrderIsThatOfWholeNames) {
  std::vector<std::string> names;
  for (const char* machine : {"m", "m-1", "m0", "ma", "l"}) {
    for (const char* id : {"b", "a", "a-1", "a0"}) names.push_back(Name(machine, id));
  }
  for (const std::string& name : names) Put(name, Row(name));
  std::sort(names.begin(), names.end());
  EXPECT_THAT(NamesFrom(""), ElementsAreArray(names));
}

TEST_F(BindingTableTest, VisitBeginsAnywhere) {
  const std::vector<std::string> names = {Name("m-1", "a"), Name("m-1", "c"), Name("m", "a"),
                                          Name("m", "c")};
  for (const std::string& name : names) Put(name, Row(name));
  std::vector<std::string> places = {"", "a", "projects/p/virtualMachines/m", "projects/q", "z"};
  for (const std::string& name : names) {
    for (const char* end : {"", "/", "x", "-"}) places.push_back(name + end);
    places.push_back(name.substr(0, name.size() - 1));
    places.push_back(name + '\0');
  }
  for (const std::string& place : places) {
    const auto first = std::lower_bound(names.begin(), names.end(), place);
    EXPECT_THAT(NamesFrom(place), ElementsAreArray(first, names.end())) << place;
  }
}

TEST_F(BindingTableTest, VisitEndsWhenToldTo) {
  for (const char* id : {"a", "b", "c"}) Put(Name("m", id), Row(id));
  EXPECT_THAT(NamesFrom(Name("m", "b"), 1), ElementsAre(Name("m", "b")));
}

TEST_F(BindingTableTest, UidIsThatOfTheNewestRow) {
  Put(Name("m", "a"), Row("old"));
  Put(Name("m", "a"), Row("new"));
  EXPECT_EQ(table_.NameOfUid("new"), Name("m", "a"));
  EXPECT_EQ(table_.NameOfUid("old"), "");
  table_.Erase(Name("m", "a"));
  EXPECT_EQ(table_.NameOfUid("new"), "");
}

TEST_F(BindingTableTest, NewRowKeepsWhatWasObserved) {
  Put(Name("m", "a"), Row("uid", 1));
  Observe(Name("m", "a"), State::STATE_PROGRAMMED, 1);
  EXPECT_EQ(table_.Find(Name("m", "a"))->Rung(), State::STATE_PROGRAMMED);
  Put(Name("m", "a"), Row("uid", 2));
  EXPECT_EQ(table_.Find(Name("m", "a"))->observed.state(), State::STATE_PROGRAMMED);
  EXPECT_EQ(table_.Find(Name("m", "a"))->Rung(), State::STATE_PERSISTED);
}

TEST_F(BindingTableTest, CountsFollowEveryChange) {
  Put(Name("m", "a"), Row("a"));
  Put(Name("m", "b"), Row("b"));
  Observe(Name("m", "b"), State::STATE_PROGRAMMED, 1);
  const BindingCounts* counts = table_.CountsOf("projects/p/virtualMachines/m");
  ASSERT_NE(counts, nullptr);
  EXPECT_EQ((*counts)[State::STATE_PERSISTED], 1);
  EXPECT_EQ((*counts)[State::STATE_PROGRAMMED], 1);
  Put(Name("m", "b"), Row("b", 2));
  EXPECT_EQ((*counts)[State::STATE_PERSISTED], 2);
  table_.Erase(Name("m", "a"));
  EXPECT_EQ((*counts)[State::STATE_PERSISTED], 1);
}

TEST_F(BindingTableTest, MachineGoesWithItsLastBinding) {
  Put(Name("m", "a"), Row("a"));
  table_.Erase(Name("m", "a"));
  table_.Erase(Name("m", "a"));
  EXPECT_TRUE(table_.empty());
  EXPECT_EQ(table_.CountsOf("projects/p/virtualMachines/m"), nullptr);
  EXPECT_THAT(table_.NamesOf("projects/p/virtualMachines/m"), IsEmpty());
}

}  // namespace
}  // namespace nestor::server
