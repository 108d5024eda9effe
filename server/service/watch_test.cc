#include <gmock/gmock.h>

#include <vector>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

// One Watch stream; its events as short words.
class Watch {
 public:
  Watch(TestServer& server, const v1::WatchRequest& request) {
    LimitCall(&context_);
    stream_ = server.watch().Watch(&context_, request);
  }
  ~Watch() { context_.TryCancel(); }

  // "PUT b1", "DELETED b1", "SYNCED", "BOOKMARK"; "END" where the stream has ended.
  std::string Next() {
    v1::WatchResponse event;
    if (!stream_->Read(&event)) return "END";
    token_ = event.resume_token();
    event_ = event;
    const std::string& name = event.has_host()              ? event.host().name()
                              : event.has_virtual_machine() ? event.virtual_machine().name()
                                                            : event.pasid_binding().name();
    const std::string type = v1::WatchResponse::Type_Name(event.type()).substr(sizeof("TYPE"));
    return name.empty() ? type : absl::StrCat(type, " ", name.substr(name.rfind('/') + 1));
  }
  std::vector<std::string> Next(int count) {
    std::vector<std::string> events;
    for (int i = 0; i < count; ++i) events.push_back(Next());
    return events;
  }
  // Of the last event.
  const std::string& token() const { return token_; }
  const v1::WatchResponse& event() const { return event_; }
  absl::Status End() {
    while (Next() != "END") {
    }
    return FromGrpcStatus(stream_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> stream_;
  std::string token_;
  v1::WatchResponse event_;
};

TestServerOptions SmallHistory() {
  TestServerOptions options;
  options.api.history = 8;
  options.api.bookmark_interval = absl::Milliseconds(20);
  return options;
}

class WatchTest : public ServiceTest {
 protected:
  explicit WatchTest(const TestServerOptions& options = {}) : ServiceTest(options) {}

  void SetUp() override {
    CreateHost();
    CreateMachine();
  }
  static v1::WatchRequest Request(std::vector<v1::WatchRequest::Kind> kinds,
                                  const std::string& token = "") {
    v1::WatchRequest request;
    for (const auto kind : kinds) request.add_kinds(kind);
    request.set_resume_token(token);
    return request;
  }
  static v1::WatchRequest OfBindings(const std::string& token = "") {
    return Request({v1::WatchRequest::KIND_PASID_BINDING}, token);
  }
  // b1, b2, ... in one revision.
  void CreateBindings(const std::vector<std::string>& ids, uint32_t first_pasid) {
    v1::BatchCreatePasidBindingsRequest batch;
    for (const std::string& id : ids) {
      *batch.add_requests()->mutable_pasid_binding() =
          WantedBinding(BindingName(id), first_pasid++);
    }
    Must(Call(server_.bindings(), &Bindings::BatchCreatePasidBindings, batch));
  }
};

TEST_F(WatchTest, SnapshotIsInOrderOfKindAndNameThenSynced) {
  CreateBinding("z", 1);
  CreateBinding("a", 2);
  CreateHost("hosts/h0");
  Watch watch(server_, Request({v1::WatchRequest::KIND_PASID_BINDING, v1::WatchRequest::KIND_HOST,
                                v1::WatchRequest::KIND_VIRTUAL_MACHINE}));
  EXPECT_THAT(watch.Next(5), ElementsAre("PUT h0", "PUT h1", "PUT vm", "PUT a", "PUT z"));
  EXPECT_THAT(watch.token(), IsEmpty());
  EXPECT_EQ(watch.Next(), "SYNCED");
  EXPECT_THAT(watch.token(), Not(IsEmpty()));
}

TEST_F(WatchTest, ChangesFollowTheSnapshotInOrder) {
  CreateBinding("a", 1);
  Watch watch(server_, OfBindings());
  EXPECT_THAT(watch.Next(2), ElementsAre("PUT a", "SYNCED"));
  CreateBinding("b", 2);
  EXPECT_EQ(watch.Next(), "PUT b");
  EXPECT_EQ(watch.event().pasid_binding().metadata().revision(), server_.head());
  const std::string uid = DeleteBinding("a").metadata().uid();
  EXPECT_EQ(watch.Next(), "DELETED a");
  EXPECT_EQ(watch.event().pasid_binding().metadata().uid(), uid);
  CreateBinding("a", 1);
  EXPECT_EQ(watch.Next(), "PUT a");
  EXPECT_NE(watch.event().pasid_binding().metadata().uid(), uid);
}

TEST_F(WatchTest, OnlyKindsAndParentAskedForAreSent) {
  CreateMachine(WantedMachine({kOtherDevice}, "projects/p/virtualMachines/vm-2"));
  v1::WatchRequest request = OfBindings();
  request.set_parent(kMachine);
  Watch watch(server_, request);
  EXPECT_EQ(watch.Next(), "SYNCED");
  Must(TryCreateBinding(
      WantedBinding("projects/p/virtualMachines/vm-2/pasidBindings/other", 1, kOtherDevice)));
  CreateHost("hosts/h2");
  CreateBinding("mine", 2);
  EXPECT_EQ(watch.Next(), "PUT mine");
}

TEST_F(WatchTest, ResumeGoesOnAfterTheTokenAlsoWithinARevision) {
  Watch first(server_, OfBindings());
  EXPECT_EQ(first.Next(), "SYNCED");
  const std::string synced = first.token();
  CreateBindings({"b1", "b2", "b3"}, 1);
  CreateBindings({"c1", "c2"}, 11);
  const std::vector<std::string> all = first.Next(5);
  EXPECT_THAT(all, ElementsAre("PUT b1", "PUT b2", "PUT b3", "PUT c1", "PUT c2"));

  Watch again(server_, OfBindings(synced));
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(again.Next(), all[i]);
    if (i + 1 == all.size()) break;
    Watch resumed(server_, OfBindings(again.token()));
    const std::vector<std::string> rest(all.begin() + i + 1, all.end());
    EXPECT_EQ(resumed.Next(static_cast<int>(rest.size())), rest);
  }
}

TEST_F(WatchTest, ResumeAtTheEndSendsOnlyWhatIsNew) {
  Watch first(server_, OfBindings());
  EXPECT_EQ(first.Next(), "SYNCED");
  CreateBinding("a", 1);
  EXPECT_EQ(first.Next(), "PUT a");
  Watch resumed(server_, OfBindings(first.token()));
  CreateBinding("b", 2);
  EXPECT_EQ(resumed.Next(), "PUT b");
}

TEST_F(WatchTest, TokenOfAnotherStoreIsCompacted) {
  TestServer other;
  std::string token;
  {
    Watch watch(other, OfBindings());
    EXPECT_EQ(watch.Next(), "SYNCED");
    token = watch.token();
  }
  const absl::Status status = Watch(server_, OfBindings(token)).End();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ErrorReason(status), "REVISION_COMPACTED");
}

TEST_F(WatchTest, TokenFromBeforeARestartResumesUnlessSomethingIsMissed) {
  std::string old_token;
  std::string newest_token;
  {
    Watch watch(server_, OfBindings());
    EXPECT_EQ(watch.Next(), "SYNCED");
    old_token = watch.token();
    CreateBinding("a", 1);
    EXPECT_EQ(watch.Next(), "PUT a");
    newest_token = watch.token();
  }
  server_.Restart();
  EXPECT_EQ(ErrorReason(Watch(server_, OfBindings(old_token)).End()), "REVISION_COMPACTED");
  Watch resumed(server_, OfBindings(newest_token));
  CreateBinding("b", 2);
  EXPECT_EQ(resumed.Next(), "PUT b");
}

class SmallHistoryTest : public WatchTest {
 protected:
  SmallHistoryTest() : WatchTest(SmallHistory()) {}
};

TEST_F(SmallHistoryTest, TokenThatTheHistoryOutlivedIsCompacted) {
  std::string token;
  {
    Watch watch(server_, OfBindings());
    EXPECT_EQ(watch.Next(), "SYNCED");
    token = watch.token();
  }
  CreateBindings({"b1", "b2", "b3", "b4", "b5"}, 1);
  CreateBindings({"c1", "c2", "c3", "c4", "c5"}, 11);
  EXPECT_EQ(ErrorReason(Watch(server_, OfBindings(token)).End()), "REVISION_COMPACTED");
}

TEST_F(SmallHistoryTest, IdleWatchGetsBookmarksThatResume) {
  Watch watch(server_, OfBindings());
  EXPECT_THAT(watch.Next(2), ElementsAre("SYNCED", "BOOKMARK"));
  // A change of another kind moves the bookmark on.
  const std::string before = watch.token();
  CreateHost("hosts/h2");
  while (watch.token() == before) ASSERT_EQ(watch.Next(), "BOOKMARK");
  Watch resumed(server_, OfBindings(watch.token()));
  CreateBinding("a", 1);
  std::string next = resumed.Next();
  while (next == "BOOKMARK") next = resumed.Next();
  EXPECT_EQ(next, "PUT a");
}

}  // namespace
}  // namespace nestor::server
