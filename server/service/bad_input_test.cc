// What no client should send: refused with the field's name, nothing changed, nothing broken.

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>

#include <set>
#include <vector>

#include "absl/strings/str_join.h"
#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

using ::testing::Contains;
using ::testing::ElementsAreArray;

// A request of nestor.v1 in text form, on the wire.
std::string Wire(const std::string& method, const std::string& text) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  std::string dotted = method;
  dotted[dotted.find('/')] = '.';
  const auto* descriptor = pool->FindMethodByName(dotted)->input_type();
  std::unique_ptr<google::protobuf::Message> request(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, request.get())) << text;
  return request->SerializeAsString();
}

// One host with one machine with one binding.
class BadInputTest : public ServiceTest {
 protected:
  void SetUp() override {
    // The services' descriptors are in the pool only if something refers to them.
    v1::HostService::service_full_name();
    CreateHost();
    CreateMachine();
    CreateBinding("b", 7);
    head_ = server_.head();
  }

  // Nothing was written, and the server goes on.
  void ExpectNothingHappened() {
    EXPECT_EQ(server_.head(), head_);
    EXPECT_TRUE(GetBinding("b").ok());
  }

  int64_t head_ = 0;
};

struct BadRequest {
  const char* method;  // of nestor.v1
  std::string request;
  std::vector<std::string> fields;  // all that is wrong
};

const std::string kGoodHost = "host { name: 'hosts/h9' } ";
const std::string kGoodMachine =
    "virtual_machine { name: 'projects/p/virtualMachines/v9' "
    "spec { placement { host: 'hosts/h1' } } } ";

// A binding with each part given, or a good one where it is empty.
std::string Binding(const std::string& name = "", const std::string& device = "",
                    const std::string& target = "", const std::string& page_table = "",
                    const std::string& more = "") {
  return absl::StrCat(
      "{ name: '", name.empty() ? BindingName("b9") : name, "' spec { device: '",
      device.empty() ? kDevice : device, "' ", target.empty() ? "pasid: 9" : target,
      " page_table { ",
      page_table.empty() ? "format: FORMAT_VTD_S1 root: 4096 address_width: 48" : page_table,
      " } } ", more, " } ");
}

std::string Repeat(const std::string& text, int times) {
  return absl::StrJoin(std::vector<std::string>(times, text), " ");
}

std::vector<BadRequest> BadHostRequests() {
  return {
      {"HostService/CreateHost", "", {"host.name"}},
      {"HostService/CreateHost", "host { name: 'hosts/..' }", {"host.name"}},
      {"HostService/CreateHost", "host { name: 'hosts/H' }", {"host.name"}},
      {"HostService/CreateHost", "host { name: 'projects/p' }", {"host.name"}},
      {"HostService/CreateHost", "host { name: 'hosts/h\\000' }", {"host.name"}},
      {"HostService/CreateHost",
       absl::StrCat("host { name: 'hosts/", std::string(65536, 'h'), "' }"),
       {"host.name"}},
      {"HostService/CreateHost", kGoodHost + "request_id: 'once'", {"request_id"}},
      {"HostService/CreateHost",
       "host { name: 'hosts/h9' metadata { labels { key: 'Rack' value: '1' } } }",
       {"host.metadata.labels[Rack]"}},
      {"HostService/CreateHost",
       "host { name: 'hosts/h9' metadata { labels { key: 'rack' value: 'a b' } } }",
       {"host.metadata.labels[rack]"}},
      {"HostService/CreateHost",
       "host { name: 'hosts/h9' metadata { etag: 'none' } }",
       {"host.metadata.etag"}},
      {"HostService/GetHost", "name: 'hosts/'", {"name"}},
      {"HostService/GetHost", "name: 'hosts/h1/devices'", {"name"}},
      {"HostService/ListHosts", "page_size: -1", {"page_size"}},
      {"HostService/ListHosts", "page_token: 'forged'", {"page_token"}},
      {"HostService/ListHosts",
       absl::StrCat("page_token: '", std::string(600, 'a'), "'"),
       {"page_token"}},
      {"HostService/ListHosts", "filter: 'color=red'", {"filter"}},
      {"HostService/UpdateHost", "host { name: 'h1' }", {"host.name"}},
      {"HostService/UpdateHost",
       "host { name: 'hosts/h1' } update_mask { paths: 'status' }",
       {"update_mask"}},
      {"HostService/UpdateHost",
       "host { name: 'hosts/h1' metadata { etag: '../' } } request_id: '1'",
       {"host.metadata.etag", "request_id"}},
      {"HostService/DeleteHost", "name: ''", {"name"}},
      {"HostService/DeleteHost",
       "name: 'hosts/h1' etag: 'x' request_id: '1'",
       {"etag", "request_id"}},
      {"HostService/GetDevice", "name: 'hosts/h1/devices/3b:00.0'", {"name"}},
      {"HostService/ListDevices", "", {"parent"}},
      {"HostService/ListDevices",
       "parent: 'hosts/-' page_size: -2 filter: '='",
       {"page_size", "filter"}},
      {"HostService/ListDevices", "parent: 'hosts/-' page_token: 'AAAA'", {"page_token"}},
  };
}

std::vector<BadRequest> BadVirtualMachineRequests() {
  const std::string machine = "virtual_machine { name: 'projects/p/virtualMachines/v9' ";
  return {
      {"VirtualMachineService/CreateVirtualMachine",
       "",
       {"virtual_machine.name", "virtual_machine.spec.placement.host"}},
      {"VirtualMachineService/CreateVirtualMachine",
       "virtual_machine { name: 'projects/../virtualMachines/v' "
       "spec { placement { host: 'hosts/h1' } } }",
       {"virtual_machine.name"}},
      {"VirtualMachineService/CreateVirtualMachine",
       machine + "spec { placement { host: 'h1' } } }",
       {"virtual_machine.spec.placement.host"}},
      {"VirtualMachineService/CreateVirtualMachine",
       machine + "spec { placement { host: 'hosts/h1' devices: '3b:00.0' } } }",
       {"virtual_machine.spec.placement.devices[0]"}},
      {"VirtualMachineService/CreateVirtualMachine",
       machine + "spec { placement { host: 'hosts/h1' " + Repeat("devices: '0000:3b:00.1'", 2) +
           " } } }",
       {"virtual_machine.spec.placement.devices[1]"}},
      {"VirtualMachineService/CreateVirtualMachine",
       machine + "spec { placement { host: 'hosts/h1' " + Repeat("devices: 'x'", 65) + " } } }",
       {"virtual_machine.spec.placement.devices"}},
      {"VirtualMachineService/CreateVirtualMachine",
       kGoodMachine + "request_id: '1'",
       {"request_id"}},
      {"VirtualMachineService/GetVirtualMachine", "name: 'projects/p/virtualMachines/'", {"name"}},
      {"VirtualMachineService/ListVirtualMachines", "parent: 'hosts/h1'", {"parent"}},
      {"VirtualMachineService/ListVirtualMachines",
       "parent: 'projects/-' page_size: -1 filter: 'state=NONE'",
       {"page_size", "filter"}},
      {"VirtualMachineService/ListVirtualMachines",
       "parent: 'projects/-' page_token: '!'",
       {"page_token"}},
      {"VirtualMachineService/UpdateVirtualMachine",
       "virtual_machine { name: 'v' }",
       {"virtual_machine.name"}},
      {"VirtualMachineService/UpdateVirtualMachine",
       "virtual_machine { name: 'projects/p/virtualMachines/vm' "
       "metadata { etag: 'z' } spec { placement { host: 'hosts/h1' devices: '' } } } "
       "update_mask { paths: 'name' } request_id: '1'",
       {"virtual_machine.metadata.etag", "virtual_machine.spec.placement.devices[0]", "update_mask",
        "request_id"}},
      {"VirtualMachineService/UpdateVirtualMachine",
       "virtual_machine { name: 'projects/p/virtualMachines/vm' "
       "spec { placement { host: 'other' } } }",
       {"virtual_machine.spec.placement.host"}},
      {"VirtualMachineService/DeleteVirtualMachine",
       "name: 'vm' etag: 'x' request_id: '1'",
       {"name", "etag", "request_id"}},
      {"VirtualMachineService/ApplyVirtualMachine",
       "",
       {"virtual_machine.name", "virtual_machine.spec.placement.host"}},
      {"VirtualMachineService/ApplyVirtualMachine",
       kGoodMachine + "request_id: '1'",
       {"request_id"}},
      {"VirtualMachineService/ApplyVirtualMachine",
       kGoodMachine + "pasid_bindings " + Binding(BindingName("x")),
       {"pasid_bindings[0].name"}},
      {"VirtualMachineService/ApplyVirtualMachine",
       kGoodMachine +
           Repeat("pasid_bindings " + Binding("projects/p/virtualMachines/v9/pasidBindings/twice"),
                  2),
       {"pasid_bindings[1].name"}},
      {"VirtualMachineService/ApplyVirtualMachine",
       kGoodMachine + "pasid_bindings " +
           Binding("projects/p/virtualMachines/v9/pasidBindings/b", "x", "pasid: 0", "format: 9"),
       {"pasid_bindings[0].spec.device", "pasid_bindings[0].spec.pasid",
        "pasid_bindings[0].spec.page_table.format",
        "pasid_bindings[0].spec.page_table.address_width"}},
      {"VirtualMachineService/ApplyVirtualMachine",
       kGoodMachine + Repeat("pasid_bindings {}", 4097),
       {"pasid_bindings"}},
  };
}

std::vector<BadRequest> BadPasidBindingRequests() {
  const std::string present = BindingName("b");
  return {
      {"PasidBindingService/CreatePasidBinding",
       "",
       {"pasid_binding.name", "pasid_binding.spec.device", "pasid_binding.spec.target",
        "pasid_binding.spec.page_table.format", "pasid_binding.spec.page_table.address_width"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding(BindingName("..")),
       {"pasid_binding.name"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding(BindingName("a\\000b")),
       {"pasid_binding.name"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding(BindingName(std::string(65536, 'b'))),
       {"pasid_binding.name"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "0000:3b:00.8"),
       {"pasid_binding.spec.device"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "pasid: 1048576"),
       {"pasid_binding.spec.pasid"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "any_of { first: 0 last: 4 }"),
       {"pasid_binding.spec.any_of.first"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "any_of { first: 4 last: 3 }"),
       {"pasid_binding.spec.any_of.last"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "", "root: 4096 address_width: 48"),
       {"pasid_binding.spec.page_table.format"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "", "format: FORMAT_VTD_S1 root: 1 address_width: 48"),
       {"pasid_binding.spec.page_table.root"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "",
                                  "format: FORMAT_VTD_S1 root: 0x10000000000000 "
                                  "address_width: 48"),
       {"pasid_binding.spec.page_table.root"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "", "format: FORMAT_VTD_S1 root: 0 address_width: 39"),
       {"pasid_binding.spec.page_table.address_width"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding("", "", "pasid: 9 vm_instance: '../x'"),
       {"pasid_binding.spec.vm_instance"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " +
           Binding("", "", "", "", "metadata { labels { key: '' value: '1' } etag: 'x' }"),
       {"pasid_binding.metadata.etag", "pasid_binding.metadata.labels[]"}},
      {"PasidBindingService/CreatePasidBinding",
       "pasid_binding " + Binding() + "request_id: '1'",
       {"request_id"}},
      {"PasidBindingService/GetPasidBinding", "name: 'b'", {"name"}},
      {"PasidBindingService/ListPasidBindings", "parent: 'projects/p'", {"parent"}},
      {"PasidBindingService/ListPasidBindings",
       "parent: 'projects/p/virtualMachines/-' page_size: -1 filter: 'device'",
       {"page_size", "filter"}},
      {"PasidBindingService/ListPasidBindings",
       "parent: 'projects/p/virtualMachines/-' page_token: 'AAAA'",
       {"page_token"}},
      {"PasidBindingService/UpdatePasidBinding",
       "",
       {"pasid_binding.name", "pasid_binding.spec.page_table.format",
        "pasid_binding.spec.page_table.address_width"}},
      {"PasidBindingService/UpdatePasidBinding",
       "pasid_binding " + Binding(present, "", "pasid: 7", "", "metadata { etag: '-' }") +
           "update_mask { paths: 'spec.pasid' } request_id: '1'",
       {"pasid_binding.metadata.etag", "update_mask", "request_id"}},
      {"PasidBindingService/UpdatePasidBinding",
       "pasid_binding " + Binding(present, kOtherDevice, "pasid: 7"),
       {"pasid_binding.spec.device"}},
      {"PasidBindingService/UpdatePasidBinding",
       "pasid_binding " + Binding(present, "", "pasid: 8"),
       {"pasid_binding.spec.target"}},
      {"PasidBindingService/DeletePasidBinding",
       "name: '' etag: 'x' request_id: '1'",
       {"name", "etag", "request_id"}},
      {"PasidBindingService/BatchCreatePasidBindings", "", {"requests"}},
      {"PasidBindingService/BatchCreatePasidBindings", Repeat("requests {}", 1001), {"requests"}},
      {"PasidBindingService/BatchCreatePasidBindings",
       "request_id: '1' requests { pasid_binding " + Binding() +
           " request_id: '0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10' validate_only: true }",
       {"request_id", "requests[0].request_id", "requests[0].validate_only"}},
      {"PasidBindingService/BatchCreatePasidBindings",
       "requests { pasid_binding " + Binding() + " } requests { pasid_binding " +
           Binding("", "", "pasid: 0") + " }",
       {"requests[1].pasid_binding.spec.pasid"}},
      {"PasidBindingService/BatchCreatePasidBindings",
       Repeat("requests { pasid_binding " + Binding() + " }", 2),
       {"requests[1].pasid_binding.name"}},
      {"PasidBindingService/BatchDeletePasidBindings", "", {"requests"}},
      {"PasidBindingService/BatchDeletePasidBindings",
       "requests { name: 'b' etag: 'x' validate_only: true "
       "request_id: '0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10' }",
       {"requests[0].name", "requests[0].etag", "requests[0].request_id",
        "requests[0].validate_only"}},
      {"PasidBindingService/WaitPasidBinding",
       "name: 'b' generation: -1 want: 9 timeout { seconds: 301 }",
       {"name", "generation", "want", "timeout"}},
      {"PasidBindingService/WaitPasidBinding",
       absl::StrCat("name: '", present, "' timeout { seconds: 0 }"),
       {"timeout"}},
      {"PasidBindingService/WaitPasidBinding",
       absl::StrCat("name: '", present, "' timeout { seconds: 9223372036854775807 nanos: -1 }"),
       {"timeout"}},
      {"PasidBindingService/ExplainPasidBinding", "name: 'b'", {"name"}},
      {"PasidBindingService/GetPasidBindingTimeline", "name: 'b'", {"name"}},
      {"PasidBindingService/InvalidateCache",
       "name: 'b' range { address: 4096 }",
       {"name", "range.size"}},
      {"PasidBindingService/InvalidateCache",
       absl::StrCat("name: '", present, "' range { address: 18446744073709551615 size: 2 }"),
       {"range.size"}},
  };
}

std::vector<BadRequest> BadWatchRequests() {
  return {
      {"WatchService/Watch", "", {"kinds"}},
      {"WatchService/Watch", "kinds: KIND_UNSPECIFIED", {"kinds[0]"}},
      {"WatchService/Watch", "kinds: 7", {"kinds[0]"}},
      {"WatchService/Watch", "kinds: KIND_HOST kinds: KIND_HOST", {"kinds[1]"}},
      {"WatchService/Watch", "kinds: KIND_HOST parent: 'projects/-'", {"parent"}},
      {"WatchService/Watch", "kinds: KIND_HOST parent: 'hosts/h1'", {"parent"}},
      {"WatchService/Watch", "kinds: KIND_HOST resume_token: 'forged'", {"resume_token"}},
      {"WatchService/Watch",
       absl::StrCat("kinds: KIND_HOST resume_token: '", std::string(600, 'A'), "'"),
       {"resume_token"}},
  };
}

TEST_F(BadInputTest, EveryBadFieldIsNamedAndNothingChanges) {
  for (const auto& table : {BadHostRequests(), BadVirtualMachineRequests(),
                            BadPasidBindingRequests(), BadWatchRequests()}) {
    for (const BadRequest& bad : table) {
      SCOPED_TRACE(absl::StrCat(bad.method, " ", bad.request.substr(0, 300)));
      const std::string method = absl::StrCat("nestor.v1.", bad.method);
      const absl::Status status = server_.CallRaw(method, Wire(method, bad.request));
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_EQ(ErrorReason(status), "FIELD_INVALID");
      EXPECT_THAT(WrongFields(status), ElementsAreArray(bad.fields)) << status;
      for (const char c : status.message()) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
    }
  }
  ExpectNothingHappened();
}

TEST_F(BadInputTest, TableHasEveryMethod) {
  std::set<std::string> methods;
  for (const auto& table : {BadHostRequests(), BadVirtualMachineRequests(),
                            BadPasidBindingRequests(), BadWatchRequests()}) {
    for (const BadRequest& bad : table) methods.insert(bad.method);
  }
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const char* name :
       {"HostService", "VirtualMachineService", "PasidBindingService", "WatchService"}) {
    const auto* service = pool->FindServiceByName(absl::StrCat("nestor.v1.", name));
    for (int i = 0; i < service->method_count(); ++i) {
      EXPECT_THAT(methods, Contains(absl::StrCat(name, "/", service->method(i)->name())));
    }
  }
}

TEST_F(BadInputTest, StatusAndOutputOnlyFieldsOfAClientAreIgnored) {
  v1::CreatePasidBindingRequest request;
  v1::PasidBinding& binding = *request.mutable_pasid_binding();
  binding = WantedBinding(BindingName("liar"), 9);
  binding.mutable_status()->set_state(v1::PasidBindingStatus::STATE_PROGRAMMED);
  binding.mutable_status()->set_effective_pasid(1);
  binding.mutable_metadata()->set_uid("mine");
  binding.mutable_metadata()->set_generation(99);
  binding.mutable_metadata()->mutable_delete_time()->set_seconds(1);
  const auto created = Must(Call(server_.bindings(), &Bindings::CreatePasidBinding, request));
  EXPECT_EQ(created.status().state(), v1::PasidBindingStatus::STATE_PERSISTED);
  EXPECT_EQ(created.status().effective_pasid(), 9u);
  EXPECT_EQ(created.metadata().generation(), 1);
  EXPECT_NE(created.metadata().uid(), "mine");
  EXPECT_FALSE(created.metadata().has_delete_time());
}

}  // namespace
}  // namespace nestor::server
