#include <gmock/gmock.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kRequestId[] = "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10";

class PasidBindingServiceTest : public ServiceTest {
 protected:
  void SetUp() override {
    CreateHost();
    CreateMachine();
  }

  v1::UpdatePasidBindingRequest WantedUpdate(const std::string& id, uint64_t root) {
    v1::UpdatePasidBindingRequest request;
    v1::PasidBinding& binding = *request.mutable_pasid_binding();
    binding.set_name(BindingName(id));
    *binding.mutable_spec()->mutable_page_table() =
        WantedBinding(BindingName(id), 1).spec().page_table();
    binding.mutable_spec()->mutable_page_table()->set_root(root);
    return request;
  }
  absl::StatusOr<v1::PasidBinding> Update(const v1::UpdatePasidBindingRequest& request) {
    return Call(server_.bindings(), &Bindings::UpdatePasidBinding, request);
  }
};

TEST_F(PasidBindingServiceTest, CreatedBindingIsPersistedReadAndListed) {
  const v1::PasidBinding created = CreateBinding("b", 7);
  EXPECT_EQ(created.status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  EXPECT_EQ(created.status().effective_pasid(), 7u);
  EXPECT_EQ(created.status().times().persisted().seconds(),
            absl::ToUnixSeconds(server_.clock().Now()));
  EXPECT_EQ(created.metadata().revision(), server_.head());
  EXPECT_EQ(Must(GetBinding("b")).SerializeAsString(), created.SerializeAsString());
  v1::ListPasidBindingsRequest list;
  list.set_parent("projects/-/virtualMachines/-");
  list.set_filter("state=PERSISTED AND host=h1");
  EXPECT_THAT(Must(Call(server_.bindings(), &Bindings::ListPasidBindings, list)).pasid_bindings(),
              SizeIs(1));
  list.set_filter("state=PROGRAMMED");
  EXPECT_THAT(Must(Call(server_.bindings(), &Bindings::ListPasidBindings, list)).pasid_bindings(),
              IsEmpty());
}

TEST_F(PasidBindingServiceTest, ExplainSaysWhichRungIsMissingAndWhatToDo) {
  CreateBinding("b", 7);
  v1::ExplainPasidBindingRequest request;
  request.set_name(BindingName("b"));
  const auto explanation = Must(Call(server_.bindings(), &Bindings::ExplainPasidBinding, request));
  EXPECT_EQ(explanation.first_unmet(), "ACCEPTED");
  EXPECT_EQ(explanation.reason(), "HOST_NEVER_SEEN");
  EXPECT_THAT(explanation.next_step(), HasSubstr("nestor-agent"));
  request.set_name(BindingName("none"));
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::ExplainPasidBinding, request)),
            "NOT_FOUND");
}

TEST_F(PasidBindingServiceTest, AnyOfPicksFreePasidsUntilTheRangeIsFull) {
  const auto pick = [this](const std::string& id) {
    return TryCreateBinding(WantedAnyOf(BindingName(id), 5, 6));
  };
  EXPECT_EQ(Must(pick("a")).status().effective_pasid(), 5u);
  EXPECT_EQ(Must(pick("b")).status().effective_pasid(), 6u);
  const auto refused = pick("c");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "PASID_SPACE_FULL");
}

TEST_F(PasidBindingServiceTest, RefusalsNameTheirReasonAndChangeNothing) {
  CreateBinding("b", 7);
  const int64_t before = server_.head();
  EXPECT_EQ(ReasonOf(TryCreateBinding(WantedBinding(BindingName("b"), 8))), "ALREADY_EXISTS");
  const auto in_use = TryCreateBinding(WantedBinding(BindingName("c"), 7));
  EXPECT_EQ(ReasonOf(in_use), "PASID_IN_USE");
  EXPECT_THAT(std::string(in_use.status().message()), HasSubstr(BindingName("b")));
  EXPECT_EQ(ReasonOf(TryCreateBinding(WantedBinding(BindingName("c"), 8, kOtherDevice))),
            "DEVICE_NOT_OWNED");
  EXPECT_EQ(ReasonOf(TryCreateBinding(
                WantedBinding("projects/p/virtualMachines/none/pasidBindings/b", 8))),
            "NOT_FOUND");
  EXPECT_EQ(ReasonOf(Update(WantedUpdate("none", 0x2000))), "NOT_FOUND");
  EXPECT_EQ(server_.head(), before);
}

TEST_F(PasidBindingServiceTest, EtagOfAnOlderStateIsRefused) {
  const v1::PasidBinding created = CreateBinding("b", 7);
  v1::UpdatePasidBindingRequest update = WantedUpdate("b", 0x2000);
  update.mutable_pasid_binding()->mutable_metadata()->set_etag(created.metadata().etag());
  const v1::PasidBinding updated = Must(Update(update));
  EXPECT_NE(updated.metadata().etag(), created.metadata().etag());
  const int64_t before = server_.head();
  const auto refused = Update(update);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(refused), "ETAG_MISMATCH");
  v1::DeletePasidBindingRequest remove;
  remove.set_name(BindingName("b"));
  remove.set_etag(created.metadata().etag());
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::DeletePasidBinding, remove)),
            "ETAG_MISMATCH");
  EXPECT_EQ(server_.head(), before);
  remove.set_etag(updated.metadata().etag());
  Must(Call(server_.bindings(), &Bindings::DeletePasidBinding, remove));
}

TEST_F(PasidBindingServiceTest, OfTwoWritersWithOneEtagOneIsAborted) {
  const std::string etag = CreateBinding("b", 7).metadata().etag();
  const int64_t before = server_.head();
  absl::Status results[2];
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&, i] {
      v1::UpdatePasidBindingRequest update = WantedUpdate("b", 0x10000 * (i + 1));
      update.mutable_pasid_binding()->mutable_metadata()->set_etag(etag);
      results[i] = Update(update).status();
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_THAT((std::vector{results[0].code(), results[1].code()}),
              UnorderedElementsAre(absl::StatusCode::kOk, absl::StatusCode::kAborted));
  EXPECT_EQ(server_.head(), before + 1);
}

TEST_F(PasidBindingServiceTest, ManyWritersAtOnceGetPasidsOfTheirOwn) {
  constexpr int kWriters = 8;
  std::vector<uint32_t> pasids(kWriters);
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      const auto binding =
          TryCreateBinding(WantedAnyOf(BindingName(absl::StrCat("b", i)), 1, kWriters));
      if (binding.ok()) pasids[i] = binding->status().effective_pasid();
    });
  }
  for (std::thread& writer : writers) writer.join();
  std::sort(pasids.begin(), pasids.end());
  EXPECT_THAT(pasids, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
}

TEST_F(PasidBindingServiceTest, BatchIsAllOrNone) {
  v1::BatchCreatePasidBindingsRequest batch;
  for (int i = 1; i <= 3; ++i) {
    *batch.add_requests()->mutable_pasid_binding() =
        WantedBinding(BindingName(absl::StrCat("b", i)), i);
  }
  batch.mutable_requests(2)->mutable_pasid_binding()->mutable_spec()->set_pasid(1);
  const int64_t before = server_.head();
  const auto refused = Call(server_.bindings(), &Bindings::BatchCreatePasidBindings, batch);
  EXPECT_EQ(ReasonOf(refused), "PASID_IN_USE");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("requests[2]"));
  EXPECT_EQ(server_.head(), before);

  batch.mutable_requests(2)->mutable_pasid_binding()->mutable_spec()->set_pasid(3);
  EXPECT_THAT(
      Must(Call(server_.bindings(), &Bindings::BatchCreatePasidBindings, batch)).pasid_bindings(),
      SizeIs(3));
  EXPECT_EQ(server_.head(), before + 1);

  v1::BatchDeletePasidBindingsRequest remove;
  remove.add_requests()->set_name(BindingName("b1"));
  remove.add_requests()->set_name(BindingName("none"));
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::BatchDeletePasidBindings, remove)),
            "NOT_FOUND");
  EXPECT_EQ(server_.head(), before + 1);
  remove.mutable_requests(1)->set_allow_missing(true);
  EXPECT_THAT(
      Must(Call(server_.bindings(), &Bindings::BatchDeletePasidBindings, remove)).pasid_bindings(),
      SizeIs(1));
}

TEST_F(PasidBindingServiceTest, SameRequestIdGetsTheSameAnswerAndNoNewRevision) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedAnyOf(BindingName("b"), 1, 100);
  request.set_request_id(kRequestId);
  const auto create = [&] {
    return Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
  };
  const v1::PasidBinding first = create();
  const int64_t head = server_.head();
  EXPECT_EQ(create().SerializeAsString(), first.SerializeAsString());
  server_.Restart();
  EXPECT_EQ(create().SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(server_.head(), head);
}

TEST_F(PasidBindingServiceTest, RequestIdOfAnotherRequestIsRefusedForOneHour) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  request.set_request_id(kRequestId);
  Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
  const int64_t head = server_.head();
  *request.mutable_pasid_binding() = WantedBinding(BindingName("c"), 8);
  const auto refused = Call(server_.bindings(), &Bindings::CreatePasidBinding, request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(refused), "REQUEST_ID_REUSED");
  server_.clock().Advance(absl::Minutes(59));
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::CreatePasidBinding, request)),
            "REQUEST_ID_REUSED");
  EXPECT_EQ(server_.head(), head);
  server_.clock().Advance(absl::Minutes(1));
  EXPECT_EQ(Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request)).name(),
            BindingName("c"));
}

TEST_F(PasidBindingServiceTest, RequestIdOfARefusedRequestIsStillFree) {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7, kOtherDevice);
  request.set_request_id(kRequestId);
  EXPECT_EQ(ReasonOf(Call(server_.bindings(), &Bindings::CreatePasidBinding, request)),
            "DEVICE_NOT_OWNED");
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
}

TEST_F(PasidBindingServiceTest, WaitTimesOutWithAnExplanation) {
  CreateBinding("b", 7);
  const auto timed_out =
      Wait("b", v1::WaitPasidBindingRequest::WANT_PROGRAMMED, absl::Milliseconds(20));
  EXPECT_EQ(timed_out.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(timed_out), "WAIT_TIMEOUT");
  EXPECT_THAT(std::string(timed_out.status().message()), HasSubstr("HOST_NEVER_SEEN"));
}

TEST_F(PasidBindingServiceTest, WaitForWhatIsGoneAnswersAtOnce) {
  EXPECT_FALSE(Must(Wait("none", v1::WaitPasidBindingRequest::WANT_ABSENT)).has_pasid_binding());
  EXPECT_EQ(ReasonOf(Wait("none")), "NOT_FOUND");
}

}  // namespace
}  // namespace nestor::server
