#include "server/core/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr char kUuid[] = "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10";

v1::CreatePasidBindingRequest GoodBinding() {
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  request.set_request_id(kUuid);
  return request;
}

v1::ApplyVirtualMachineRequest GoodApply() {
  v1::ApplyVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine();
  *request.add_pasid_bindings() = WantedBinding(BindingName("a"), 1);
  *request.add_pasid_bindings() = WantedBinding(BindingName("b"), 2);
  return request;
}

TEST(Validate, NamesEveryWrongField) {
  v1::CreatePasidBindingRequest request;
  EXPECT_THAT(WrongFields(Validate(request)),
              ElementsAre("pasid_binding.name", "pasid_binding.spec.device",
                          "pasid_binding.spec.target", "pasid_binding.spec.page_table.format",
                          "pasid_binding.spec.page_table.address_width"));
}

TEST(Validate, RequestIdIsEmptyOrAUuid) {
  v1::CreatePasidBindingRequest request = GoodBinding();
  for (const char* good : {"", kUuid, "0B9A1B1E-4F0E-4D4C-8F6A-0C8B1F0A7D10"}) {
    request.set_request_id(good);
    EXPECT_EQ(Validate(request), absl::OkStatus()) << good;
  }
  for (const char* bad :
       {"1", "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d1", "0b9a1b1e/4f0e-4d4c-8f6a-0c8b1f0a7d10",
        "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d1g"}) {
    request.set_request_id(bad);
    ExpectRefused(Validate(request), "request_id");
  }
}

TEST(Validate, RequestIdIsCheckedInEveryMutation) {
  const auto fields = [](auto request) {
    request.set_request_id("no");
    return WrongFields(Validate(request));
  };
  EXPECT_THAT(fields(v1::CreateHostRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::UpdateHostRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::DeleteHostRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::CreateVirtualMachineRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::UpdateVirtualMachineRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::DeleteVirtualMachineRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::ApplyVirtualMachineRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::UpdatePasidBindingRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::DeletePasidBindingRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::BatchCreatePasidBindingsRequest()), Contains("request_id"));
  EXPECT_THAT(fields(v1::BatchDeletePasidBindingsRequest()), Contains("request_id"));
}

TEST(Validate, NameIsRequiredInEveryRequestThatNamesAResource) {
  const auto fields = [](const auto& request) { return WrongFields(Validate(request)); };
  EXPECT_THAT(fields(v1::GetHostRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::DeleteHostRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::GetDeviceRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::GetVirtualMachineRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::DeleteVirtualMachineRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::GetPasidBindingRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::DeletePasidBindingRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::WaitPasidBindingRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::ExplainPasidBindingRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::GetPasidBindingTimelineRequest()), ElementsAre("name"));
  EXPECT_THAT(fields(v1::CreateHostRequest()), ElementsAre("host.name"));
  EXPECT_THAT(fields(v1::CreateVirtualMachineRequest()),
              ElementsAre("virtual_machine.name", "virtual_machine.spec.placement.host"));
}

TEST(ValidateMachine, DevicesAreBdfsAndNoneTwice) {
  v1::CreateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine({kDevice, kOtherDevice});
  EXPECT_EQ(Validate(request), absl::OkStatus());
  *request.mutable_virtual_machine() = WantedMachine({kDevice, "x\n", kDevice});
  EXPECT_THAT(WrongFields(Validate(request)),
              ElementsAre("virtual_machine.spec.placement.devices[1]",
                          "virtual_machine.spec.placement.devices[2]"));
}

TEST(ValidateMachine, HasAtMost64Devices) {
  std::vector<std::string> devices;
  devices.reserve(64);
  for (int i = 0; i < 64; ++i) devices.push_back(absl::StrCat("0000:", 10 + i, ":00.0"));
  v1::CreateVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine(devices);
  EXPECT_EQ(Validate(request), absl::OkStatus());
  devices.push_back("0001:00:00.0");
  *request.mutable_virtual_machine() = WantedMachine(devices);
  ExpectRefused(Validate(request), "virtual_machine.spec.placement.devices");
}

TEST(ValidateMask, TakesTheDocumentedPathsOnly) {
  v1::UpdatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 1);
  for (const char* path :
       {"metadata.labels", "spec.page_table", "spec.vm_instance", "spec.allow_translation_gap"}) {
    request.mutable_update_mask()->add_paths(path);
  }
  EXPECT_EQ(Validate(request), absl::OkStatus());
  for (const char* path : {"*", "", "status", "metadata", "metadata.uid", "spec.device",
                           "spec.pasid", "spec.page_table.root", "nothing", "\x1b[0m"}) {
    request.mutable_update_mask()->clear_paths();
    request.mutable_update_mask()->add_paths(path);
    ExpectRefused(Validate(request), "update_mask");
  }
}

TEST(ValidateMask, OfMachinesAndHosts) {
  v1::UpdateVirtualMachineRequest machine;
  *machine.mutable_virtual_machine() = WantedMachine();
  v1::UpdateHostRequest host;
  host.mutable_host()->set_name(kHost);
  for (const char* path : {"metadata.labels", "spec"}) {
    machine.mutable_update_mask()->add_paths(path);
    host.mutable_update_mask()->add_paths(path);
  }
  machine.mutable_update_mask()->add_paths("spec.placement.devices");
  host.mutable_update_mask()->add_paths("spec.cordoned");
  EXPECT_EQ(Validate(machine), absl::OkStatus());
  EXPECT_EQ(Validate(host), absl::OkStatus());
  machine.mutable_update_mask()->add_paths("spec.placement.host");
  host.mutable_update_mask()->add_paths("status.orphans");
  ExpectRefused(Validate(machine), "update_mask");
  ExpectRefused(Validate(host), "update_mask");
}

TEST(ValidateUpdate, WithoutMaskNeedsThePageTableAndNotWhatIsImmutable) {
  v1::UpdatePasidBindingRequest request;
  request.mutable_pasid_binding()->set_name(BindingName("b"));
  *request.mutable_pasid_binding()->mutable_spec()->mutable_page_table() =
      WantedBinding("", 1).spec().page_table();
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.mutable_pasid_binding()->mutable_spec()->clear_page_table();
  EXPECT_THAT(WrongFields(Validate(request)), Contains("pasid_binding.spec.page_table.format"));
  request.mutable_update_mask()->add_paths("metadata.labels");
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.mutable_pasid_binding()->mutable_spec()->set_pasid(1u << 20);
  ExpectRefused(Validate(request), "pasid_binding.spec.pasid");
}

TEST(ValidateBatch, HasOneToAThousandEntries) {
  v1::BatchCreatePasidBindingsRequest creates;
  v1::BatchDeletePasidBindingsRequest deletes;
  ExpectRefused(Validate(creates), "requests");
  ExpectRefused(Validate(deletes), "requests");
  for (int i = 0; i < 1000; ++i) {
    const std::string name = BindingName(absl::StrCat("b", i));
    *creates.add_requests()->mutable_pasid_binding() = WantedBinding(name, i + 1);
    deletes.add_requests()->set_name(name);
  }
  EXPECT_EQ(Validate(creates), absl::OkStatus());
  EXPECT_EQ(Validate(deletes), absl::OkStatus());
  creates.add_requests();
  deletes.add_requests();
  ExpectRefused(Validate(creates), "requests");
  ExpectRefused(Validate(deletes), "requests");
}

TEST(ValidateBatch, EntriesCarryNoRequestIdOrValidateOnly) {
  v1::BatchCreatePasidBindingsRequest creates;
  auto* create = creates.add_requests();
  *create = GoodBinding();
  create->set_validate_only(true);
  EXPECT_THAT(WrongFields(Validate(creates)),
              ElementsAre("requests[0].request_id", "requests[0].validate_only"));
  v1::BatchDeletePasidBindingsRequest deletes;
  auto* one = deletes.add_requests();
  one->set_name(BindingName("b"));
  one->set_request_id(kUuid);
  one->set_validate_only(true);
  EXPECT_THAT(WrongFields(Validate(deletes)),
              ElementsAre("requests[0].request_id", "requests[0].validate_only"));
}

TEST(ValidateBatch, ListsAtMost64WrongFields) {
  v1::BatchDeletePasidBindingsRequest request;
  for (int i = 0; i < 1000; ++i) request.add_requests();
  EXPECT_THAT(WrongFields(Validate(request)), SizeIs(64));
}

TEST(ValidateApply, BindingsLieUnderTheMachineAndNoneTwice) {
  EXPECT_EQ(Validate(GoodApply()), absl::OkStatus());
  v1::ApplyVirtualMachineRequest request = GoodApply();
  request.mutable_pasid_bindings(1)->set_name(BindingName("a"));
  ExpectRefused(Validate(request), "pasid_bindings[1].name");
  request.mutable_pasid_bindings(1)->set_name("projects/p/virtualMachines/another/pasidBindings/b");
  ExpectRefused(Validate(request), "pasid_bindings[1].name");
  request = GoodApply();
  request.mutable_pasid_bindings(1)->mutable_spec()->set_device("x");
  ExpectRefused(Validate(request), "pasid_bindings[1].spec.device");
}

TEST(ValidateApply, HasAtMost4096Bindings) {
  v1::ApplyVirtualMachineRequest request;
  *request.mutable_virtual_machine() = WantedMachine();
  for (int i = 0; i < 4096; ++i) {
    *request.add_pasid_bindings() = WantedBinding(BindingName(absl::StrCat("b", i)), i + 1);
  }
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.add_pasid_bindings();
  ExpectRefused(Validate(request), "pasid_bindings");
}

struct TimeoutCase {
  int64_t seconds;
  int32_t nanos;
  bool good;
};

class ValidateTimeout : public ::testing::TestWithParam<TimeoutCase> {};

TEST_P(ValidateTimeout, IsMoreThanNothingAndAtMostFiveMinutes) {
  v1::WaitPasidBindingRequest request;
  request.set_name(BindingName("b"));
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.mutable_timeout()->set_seconds(GetParam().seconds);
  request.mutable_timeout()->set_nanos(GetParam().nanos);
  if (GetParam().good) {
    EXPECT_EQ(Validate(request), absl::OkStatus());
  } else {
    ExpectRefused(Validate(request), "timeout");
  }
}

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

INSTANTIATE_TEST_SUITE_P(
    Bounds, ValidateTimeout,
    ::testing::Values(TimeoutCase{0, 0, false}, TimeoutCase{0, 1, true}, TimeoutCase{300, 0, true},
                      TimeoutCase{300, 1, false}, TimeoutCase{301, 0, false},
                      TimeoutCase{-1, 0, false}, TimeoutCase{1, -1, false},
                      TimeoutCase{1, 1'000'000'000, false}, TimeoutCase{kMost, 1, false},
                      TimeoutCase{std::numeric_limits<int64_t>::min(), -1, false}));

TEST(ValidateWait, KnowsWhatItWaitsFor) {
  v1::WaitPasidBindingRequest request;
  request.set_name(BindingName("b"));
  request.set_want(v1::WaitPasidBindingRequest::WANT_ABSENT);
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.set_want(static_cast<v1::WaitPasidBindingRequest::Want>(9));
  ExpectRefused(Validate(request), "want");
  request.clear_want();
  request.set_generation(-1);
  ExpectRefused(Validate(request), "generation");
}

TEST(ValidateList, ParentPageAndFilter) {
  v1::ListPasidBindingsRequest request;
  request.set_parent("projects/-/virtualMachines/-");
  request.set_page_size(5000);
  request.set_filter("host=h1 AND device=0000:3b:00.0 AND state!=PROGRAMMED AND label.a=1");
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.set_parent("projects/p");
  request.set_page_size(-1);
  request.set_page_token(std::string(65536, 'x'));
  request.set_filter("color=red");
  EXPECT_THAT(WrongFields(Validate(request)),
              ElementsAre("parent", "page_size", "page_token", "filter"));
}

TEST(ValidateList, EachListHasItsOwnFilterKeys) {
  v1::ListHostsRequest hosts;
  hosts.set_filter("state=CONNECTED");
  EXPECT_EQ(Validate(hosts), absl::OkStatus());
  hosts.set_filter("host=h1");
  ExpectRefused(Validate(hosts), "filter");
  v1::ListDevicesRequest devices;
  devices.set_parent("hosts/-");
  devices.set_filter("host=h1 AND driver=vfio-pci");
  EXPECT_EQ(Validate(devices), absl::OkStatus());
  devices.set_filter("state=x");
  ExpectRefused(Validate(devices), "filter");
  v1::ListVirtualMachinesRequest machines;
  machines.set_parent("projects/-");
  machines.set_filter("host=h1 AND state=READY");
  EXPECT_EQ(Validate(machines), absl::OkStatus());
  machines.set_filter("device=x");
  ExpectRefused(Validate(machines), "filter");
}

TEST(ValidateWatch, NamesKindsOnceEach) {
  v1::WatchRequest request;
  ExpectRefused(Validate(request), "kinds");
  request.add_kinds(v1::WatchRequest::KIND_HOST);
  request.add_kinds(v1::WatchRequest::KIND_PASID_BINDING);
  EXPECT_EQ(Validate(request), absl::OkStatus());
  request.add_kinds(v1::WatchRequest::KIND_HOST);
  ExpectRefused(Validate(request), "kinds[2]");
  request.set_kinds(2, v1::WatchRequest::KIND_UNSPECIFIED);
  ExpectRefused(Validate(request), "kinds[2]");
  request.set_kinds(2, static_cast<v1::WatchRequest::Kind>(44));
  ExpectRefused(Validate(request), "kinds[2]");
}

TEST(ValidateWatch, ParentIsNothingAProjectOrAMachine) {
  v1::WatchRequest request;
  request.add_kinds(v1::WatchRequest::KIND_HOST);
  for (const char* parent : {"", "projects/p", kMachine}) {
    request.set_parent(parent);
    EXPECT_EQ(Validate(request), absl::OkStatus()) << parent;
  }
  for (const char* parent : {"projects", "hosts/h1", "projects/p/", "\n"}) {
    request.set_parent(parent);
    ExpectRefused(Validate(request), "parent");
  }
  request.clear_parent();
  request.set_resume_token(std::string(513, 'x'));
  ExpectRefused(Validate(request), "resume_token");
}

}  // namespace
}  // namespace nestor::server
