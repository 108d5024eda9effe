#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class PasidBindingBatch : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    ASSERT_TRUE(state_.CreateMachine(WantedMachine({kDevice, kOtherDevice})).ok());
  }

  absl::StatusOr<v1::BatchCreatePasidBindingsResponse> Create(
      const std::vector<v1::PasidBinding>& bindings) {
    v1::BatchCreatePasidBindingsRequest request;
    for (const auto& binding : bindings) {
      *request.add_requests()->mutable_pasid_binding() = binding;
    }
    return state_.Do<v1::BatchCreatePasidBindingsResponse>(
        BatchCreatePasidBindings(state_.view(), TestTime(1), state_.uids(), request));
  }
  absl::StatusOr<v1::BatchDeletePasidBindingsResponse> Delete(const std::vector<std::string>& names,
                                                              bool allow_missing = false) {
    v1::BatchDeletePasidBindingsRequest request;
    for (const auto& name : names) {
      auto* one = request.add_requests();
      one->set_name(name);
      one->set_allow_missing(allow_missing);
    }
    return state_.Do<v1::BatchDeletePasidBindingsResponse>(
        BatchDeletePasidBindings(state_.view(), TestTime(2), request));
  }

  TestView state_;
};

TEST_F(PasidBindingBatch, CreatesAllInOneRevision) {
  const auto reply =
      Create({WantedBinding(BindingName("z"), 1), WantedBinding(BindingName("a"), 2)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->pasid_bindings(0).name(), BindingName("z"));
  EXPECT_EQ(reply->pasid_bindings(1).name(), BindingName("a"));
  EXPECT_EQ(reply->pasid_bindings(0).metadata().revision(), state_.view().head_revision());
  EXPECT_EQ(reply->pasid_bindings(1).metadata().revision(), state_.view().head_revision());
}

TEST_F(PasidBindingBatch, PicksNoPasidTwice) {
  const auto reply = Create(
      {WantedAnyOf(BindingName("a"), 1, 9), WantedAnyOf(BindingName("b"), 1, 9),
       WantedBinding(BindingName("c"), 3), WantedAnyOf(BindingName("d"), 1, 9, kOtherDevice)});
  ASSERT_TRUE(reply.ok()) << reply.status();
  std::vector<uint32_t> pasids;
  for (const auto& binding : reply->pasid_bindings()) {
    pasids.push_back(binding.status().effective_pasid());
  }
  EXPECT_THAT(pasids, ElementsAre(1, 2, 3, 4));
}

TEST_F(PasidBindingBatch, OneRefusalRefusesAllAndIsNamed) {
  const auto reply =
      Create({WantedBinding(BindingName("a"), 1), WantedBinding(BindingName("b"), 1)});
  EXPECT_EQ(ErrorReason(reply.status()), "PASID_IN_USE");
  EXPECT_THAT(std::string(reply.status().message()), StartsWith("requests[1]: "));
  EXPECT_TRUE(state_.view().pasid_bindings().empty());
}

TEST_F(PasidBindingBatch, FieldOfARefusalIsNamedOnce) {
  state_.AddDevice(kDevice, kHostId, 4);
  const auto reply =
      Create({WantedBinding(BindingName("a"), 1), WantedBinding(BindingName("b"), 99)});
  EXPECT_THAT(WrongFields(reply.status()), ElementsAre("requests[1].pasid_binding.spec.pasid"));
  EXPECT_THAT(std::string(reply.status().message()),
              StartsWith("requests[1].pasid_binding.spec.pasid: "));
}

TEST_F(PasidBindingBatch, TheSameNameTwiceIsRefused) {
  const auto created =
      Create({WantedBinding(BindingName("a"), 1), WantedBinding(BindingName("a"), 2)});
  EXPECT_THAT(WrongFields(created.status()), ElementsAre("requests[1].pasid_binding.name"));
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("a"), 1)).ok());
  const auto deleted = Delete({BindingName("a"), BindingName("a")});
  EXPECT_THAT(WrongFields(deleted.status()), ElementsAre("requests[1].name"));
}

TEST_F(PasidBindingBatch, DeletesAllOrNone) {
  ASSERT_TRUE(state_.CreateBinding(WantedBinding(BindingName("a"), 1)).ok());
  const auto refused = Delete({BindingName("a"), BindingName("gone")});
  EXPECT_EQ(ErrorReason(refused.status()), "NOT_FOUND");
  EXPECT_THAT(std::string(refused.status().message()), StartsWith("requests[1]: "));
  EXPECT_FALSE(state_.view().PasidBindingResource(BindingName("a")).metadata().has_delete_time());
  const auto reply = Delete({BindingName("gone"), BindingName("a")}, true);
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->pasid_bindings_size(), 1);
  EXPECT_EQ(reply->pasid_bindings(0).name(), BindingName("a"));
  EXPECT_TRUE(reply->pasid_bindings(0).metadata().has_delete_time());
}

}  // namespace
}  // namespace nestor::server
