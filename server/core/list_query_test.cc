#include "server/core/list_query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "api/support/errors.h"
#include "server/core/test_view.h"
#include "server/core/validation.h"

namespace nestor::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

struct FilterCase {
  std::string filter;
  bool good;
};

class Filters : public ::testing::TestWithParam<FilterCase> {};

TEST_P(Filters, FollowTheirGrammar) {
  v1::ListVirtualMachinesRequest request;
  request.set_parent("projects/-");
  request.set_filter(GetParam().filter);
  const absl::Status status = Validate(request);
  EXPECT_EQ(status.ok(), GetParam().good) << Printable(GetParam().filter) << ": " << status;
  for (const char c : status.message()) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

std::string Terms(int count) {
  return absl::StrJoin(std::vector<std::string>(count, "host=h"), " AND ");
}

INSTANTIATE_TEST_SUITE_P(Good, Filters,
                         ::testing::Values(FilterCase{"", true}, FilterCase{"  ", true},
                                           FilterCase{"host=h", true}, FilterCase{"host!=h", true},
                                           FilterCase{"host = h", true},
                                           FilterCase{"state=READY AND host!=h", true},
                                           FilterCase{"label.a.b/c=1", true},
                                           FilterCase{"label.a=", true},
                                           FilterCase{Terms(32), true},
                                           FilterCase{"host=" + std::string(2043, 'x'), true}));

INSTANTIATE_TEST_SUITE_P(
    Bad, Filters,
    ::testing::Values(FilterCase{"label.=1", false}, FilterCase{"label.a!!=1", false},
                      FilterCase{"label.a b=1", false}, FilterCase{"host", false},
                      FilterCase{"=h", false}, FilterCase{"!=h", false},
                      FilterCase{"host==h", false}, FilterCase{"host=a b", false},
                      FilterCase{"host=a OR host=b", false}, FilterCase{"(host=a)", false},
                      FilterCase{"host=\"a\"", false}, FilterCase{"host=a AND ", false},
                      FilterCase{" AND host=a", false}, FilterCase{"color=red", false},
                      FilterCase{"HOST=a", false}, FilterCase{"\x1b[0m=a", false},
                      FilterCase{Terms(33), false},
                      FilterCase{"host=" + std::string(2044, 'x'), false},
                      FilterCase{std::string(2049, ' '), false}));

TEST(FilterState, UnknownOneIsRefusedNamingThoseThereAre) {
  v1::ListHostsRequest request;
  for (const char* filter : {"state=bogus", "state!=connected", "state=UNSPECIFIED", "state="}) {
    request.set_filter(filter);
    const absl::Status status = Validate(request);
    EXPECT_EQ(ErrorReason(status), "FIELD_INVALID") << filter;
    EXPECT_THAT(status.message(), HasSubstr("states are NEVER_SEEN, CONNECTED, UNKNOWN")) << filter;
  }
}

// Two hosts; project p has machines vm (bindings a, b, c) and vm-2 (d), project q has vm (e).
class ListTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    state_.AddHost("h2");
    state_.AddDevice(kDevice, "h2");
    AddMachine("projects/p/virtualMachines/vm", kDevice, kHost, {"a", "b", "c"});
    AddMachine("projects/p/virtualMachines/vm-2", kOtherDevice, kHost, {"d"});
    AddMachine("projects/q/virtualMachines/vm", kDevice, "hosts/h2", {"e"});
  }

  void AddMachine(const std::string& name, const std::string& device, const std::string& host,
                  const std::vector<std::string>& bindings) {
    ASSERT_TRUE(state_.CreateMachine(WantedMachine({device}, name, host)).ok());
    uint32_t pasid = 1;
    for (const std::string& binding : bindings) {
      v1::PasidBinding wanted =
          WantedBinding(absl::StrCat(name, "/pasidBindings/", binding), pasid++, device);
      (*wanted.mutable_metadata()->mutable_labels())["id"] = binding;
      ASSERT_TRUE(state_.CreateBinding(wanted).ok());
    }
  }

  absl::StatusOr<v1::ListPasidBindingsResponse> ListBindings(const std::string& parent,
                                                             const std::string& filter = "",
                                                             int page_size = 0,
                                                             const std::string& token = "") {
    v1::ListPasidBindingsRequest request;
    request.set_parent(parent);
    request.set_filter(filter);
    request.set_page_size(page_size);
    request.set_page_token(token);
    return List(state_.view(), request);
  }

  // Last segments of the names.
  std::vector<std::string> Ids(const std::string& parent, const std::string& filter = "") {
    std::vector<std::string> ids;
    const auto response = ListBindings(parent, filter);
    EXPECT_TRUE(response.ok()) << response.status();
    for (const auto& binding : response->pasid_bindings()) {
      ids.push_back(PasidBindingName::Parse(binding.name())->binding);
    }
    return ids;
  }

  // The same page by page.
  std::vector<std::string> PagedIds(const std::string& parent, const std::string& filter,
                                    int page_size) {
    std::vector<std::string> ids;
    std::string token;
    do {
      const auto page = ListBindings(parent, filter, page_size, token);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return ids;
      EXPECT_LE(page->pasid_bindings_size(), page_size);
      for (const auto& binding : page->pasid_bindings()) {
        ids.push_back(PasidBindingName::Parse(binding.name())->binding);
      }
      token = page->next_page_token();
    } while (!token.empty() && ids.size() < 100);
    return ids;
  }

  TestView state_;
};

constexpr char kAll[] = "projects/-/virtualMachines/-";

TEST_F(ListTest, ParentNamesOneOrAll) {
  EXPECT_THAT(Ids(kMachine), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Ids("projects/p/virtualMachines/vm-2"), ElementsAre("d"));
  EXPECT_THAT(Ids("projects/-/virtualMachines/vm"), ElementsAre("a", "b", "c", "e"));
  EXPECT_THAT(Ids("projects/q/virtualMachines/-"), ElementsAre("e"));
  EXPECT_THAT(Ids("projects/none/virtualMachines/-"), IsEmpty());
}

TEST_F(ListTest, IsInOrderOfName) {
  const auto response = ListBindings(kAll);
  std::vector<std::string> names;
  for (const auto& binding : response->pasid_bindings()) names.push_back(binding.name());
  EXPECT_THAT(names, SizeIs(5));
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(response->revision(), state_.view().head_revision());
}

TEST_F(ListTest, FilterComparesEachKey) {
  EXPECT_THAT(Ids(kAll, "host=h2"), ElementsAre("e"));
  EXPECT_THAT(Ids(kAll, "host=hosts/h2"), ElementsAre("e"));
  EXPECT_THAT(Ids(kAll, "host!=h1"), ElementsAre("e"));
  EXPECT_THAT(Ids(kAll, "device=0000:5e:00.0"), ElementsAre("d"));
  EXPECT_THAT(Ids(kAll, "label.id=b"), ElementsAre("b"));
  EXPECT_THAT(Ids(kAll, "label.none=b"), IsEmpty());
  EXPECT_THAT(Ids(kAll, "label.none!=b"), SizeIs(5));
  EXPECT_THAT(Ids(kMachine, "label.id!=b AND state=PERSISTED"), ElementsAre("a", "c"));
  EXPECT_THAT(Ids(kMachine, "label.id!=b AND label.id!=a"), ElementsAre("c"));
  EXPECT_THAT(Ids(kAll, "state=PROGRAMMED"), IsEmpty());
}

TEST_F(ListTest, PagesShowEachOnce) {
  for (const int page_size : {1, 2, 4, 5, 1000}) {
    EXPECT_THAT(PagedIds(kAll, "", page_size), UnorderedElementsAre("a", "b", "c", "d", "e"));
    EXPECT_THAT(PagedIds(kMachine, "", page_size), ElementsAre("a", "b", "c"));
    EXPECT_THAT(PagedIds(kMachine, "label.id=a", page_size), ElementsAre("a"));
    EXPECT_THAT(PagedIds(kMachine, "label.id!=b", page_size), ElementsAre("a", "c"));
    EXPECT_THAT(PagedIds(kMachine, "label.id=none", page_size), IsEmpty());
  }
}

TEST_F(ListTest, LastPageHasNoTokenAlsoWhenItIsFull) {
  EXPECT_THAT(ListBindings(kMachine, "", 3)->next_page_token(), IsEmpty());
  EXPECT_FALSE(ListBindings(kMachine, "", 2)->next_page_token().empty());
}

TEST_F(ListTest, PageGoesOnWhereTheLastOneWasDeleted) {
  const auto first = ListBindings(kMachine, "", 1);
  const auto uid = state_.view().FindPasidBinding(BindingName("a"))->row.metadata().uid();
  ASSERT_TRUE(state_.DeleteBinding(BindingName("a")).ok());
  ASSERT_TRUE(
      state_.Commit(Purge(state_.view(), TestTime(9), kHostId, {uid}, {}).transaction).ok());
  const auto second = ListBindings(kMachine, "", 1, first->next_page_token());
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->pasid_bindings(0).name(), BindingName("b"));
}

TEST_F(ListTest, TokenOfAnotherParentOrFilterIsRefused) {
  const std::string token = ListBindings(kMachine, "", 1)->next_page_token();
  EXPECT_TRUE(ListBindings(kMachine, "", 2, token).ok());
  for (const auto& other :
       {ListBindings(kAll, "", 1, token), ListBindings(kMachine, "label.id=a", 1, token)}) {
    EXPECT_EQ(ErrorReason(other.status()), "FIELD_INVALID");
    EXPECT_THAT(WrongFields(other.status()), ElementsAre("page_token"));
  }
}

TEST_F(ListTest, ForgedTokenIsRefused) {
  const std::string token = ListBindings(kMachine, "", 1)->next_page_token();
  std::string flipped = token;
  flipped[flipped.size() / 2] = flipped[flipped.size() / 2] == 'A' ? 'B' : 'A';
  for (const std::string& forged : {std::string("x"), std::string("!!!"), token + "A", token + "=",
                                    flipped, token.substr(0, 10), std::string("\0\n", 2)}) {
    EXPECT_THAT(WrongFields(ListBindings(kMachine, "", 1, forged).status()),
                ElementsAre("page_token"))
        << Printable(forged);
  }
}

TEST_F(ListTest, PageHas100UnlessAskedAndAtMost1000) {
  v1::BatchCreatePasidBindingsRequest request;
  for (int i = 0; i < 1100; ++i) {
    *request.add_requests()->mutable_pasid_binding() =
        WantedBinding(BindingName(absl::StrCat("n", i)), 100 + i);
  }
  ASSERT_TRUE(state_
                  .Do<v1::BatchCreatePasidBindingsResponse>(
                      BatchCreatePasidBindings(state_.view(), TestTime(1), state_.uids(), request))
                  .ok());
  EXPECT_EQ(ListBindings(kMachine)->pasid_bindings_size(), 100);
  EXPECT_EQ(ListBindings(kMachine, "", 1001)->pasid_bindings_size(), 1000);
}

TEST_F(ListTest, HostsByStateAndLabel) {
  v1::ListHostsRequest request;
  EXPECT_THAT(List(state_.view(), request)->hosts(), SizeIs(2));
  request.set_filter("state=CONNECTED");
  ASSERT_THAT(List(state_.view(), request)->hosts(), SizeIs(1));
  EXPECT_EQ(List(state_.view(), request)->hosts(0).name(), kHost);
  request.set_filter("state=NEVER_SEEN");
  EXPECT_EQ(List(state_.view(), request)->hosts(0).name(), "hosts/h2");
  request.clear_filter();
  request.set_page_size(1);
  request.set_page_token(List(state_.view(), request)->next_page_token());
  const auto second = List(state_.view(), request);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->hosts(0).name(), "hosts/h2");
  EXPECT_THAT(second->next_page_token(), IsEmpty());
}

TEST_F(ListTest, MachinesByProjectHostAndState) {
  const auto names = [&](const std::string& parent, const std::string& filter) {
    v1::ListVirtualMachinesRequest request;
    request.set_parent(parent);
    request.set_filter(filter);
    std::vector<std::string> result;
    const auto response = List(state_.view(), request);
    for (const auto& machine : response->virtual_machines()) result.push_back(machine.name());
    return result;
  };
  EXPECT_THAT(names("projects/-", ""), SizeIs(3));
  EXPECT_THAT(names("projects/p", ""), SizeIs(2));
  EXPECT_THAT(names("projects/-", "host=h2"), ElementsAre("projects/q/virtualMachines/vm"));
  EXPECT_THAT(names("projects/p", "host=h2"), IsEmpty());
  EXPECT_THAT(names("projects/-", "state=PENDING"), SizeIs(3));
}

TEST_F(ListTest, DevicesOfOneHostOrAll) {
  const auto names = [&](const std::string& parent, const std::string& filter, int page_size) {
    v1::ListDevicesRequest request;
    request.set_parent(parent);
    request.set_filter(filter);
    request.set_page_size(page_size);
    std::vector<std::string> result;
    do {
      const auto response = List(state_.view(), request);
      EXPECT_TRUE(response.ok()) << response.status();
      for (const auto& device : response->devices()) result.push_back(device.name());
      request.set_page_token(response->next_page_token());
    } while (!request.page_token().empty());
    return result;
  };
  const std::string first = "hosts/h1/devices/0000:3b:00.0";
  const std::string second = "hosts/h1/devices/0000:5e:00.0";
  const std::string third = "hosts/h2/devices/0000:3b:00.0";
  for (const int page_size : {0, 1, 2}) {
    EXPECT_THAT(names("hosts/-", "", page_size), ElementsAre(first, second, third));
    EXPECT_THAT(names("hosts/h1", "", page_size), ElementsAre(first, second));
    EXPECT_THAT(names("hosts/-", "host!=h1", page_size), ElementsAre(third));
  }
  EXPECT_THAT(names("hosts/h2", "driver=vfio-pci", 0), ElementsAre(third));
  EXPECT_THAT(names("hosts/-", "driver=ixgbe", 0), IsEmpty());
}

}  // namespace
}  // namespace nestor::server
