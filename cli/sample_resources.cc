#include "cli/sample_resources.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace nestor::cli {
namespace {

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// 1769860800 is 2026-01-31 12:00:00 UTC.
constexpr char kMetadata[] = R"(
  metadata {
    uid: "11111111-2222-3333-4444-555555555555" etag: "1f" generation: 2 revision: 41
    create_time { seconds: 1769850000 } update_time { seconds: 1769860000 }
    labels { key: "tier" value: "web" } labels { key: "rack" value: "7" }
  })";

v1::PasidBinding Binding(absl::string_view id, absl::string_view rest) {
  return Parse<v1::PasidBinding>(absl::StrCat(
      "name: 'projects/demo/virtualMachines/web-1/pasidBindings/", id, "'", kMetadata, rest));
}

}  // namespace

absl::Time SampleNow() { return absl::FromUnixSeconds(1769860800); }

std::vector<v1::Host> SampleHosts() {
  return {Parse<v1::Host>(absl::StrCat(R"(name: "hosts/host-a")", kMetadata, R"(
            spec { cordoned: true }
            status {
              state: STATE_CONNECTED agent_instance: "aaaa" boot_id: "bbbb" agent_version: "0.1.0"
              epoch: 3 last_seen_time { seconds: 1769860795 nanos: 250000000 }
              orphans { uid: "cccc" device: "0000:01:00.0" pasid: 7 root: 0x7000 }
            })")),
          Parse<v1::Host>(R"(name: "hosts/host-b" status { state: STATE_NEVER_SEEN })")};
}

std::vector<v1::Device> SampleDevices() {
  return {Parse<v1::Device>(R"(
            name: "hosts/host-a/devices/0000:01:00.0"
            status {
              vendor_id: 0x8086 device_id: 0x0b25 iommu_group: 12 driver: "vfio-pci" numa_node: 0
              pasid_bits: 20 address_width: 48 formats: FORMAT_VTD_S1
              nest_granularity: NEST_GRANULARITY_PASID iommu_interface: IOMMU_INTERFACE_TYPE1
              virtual_machine: "projects/demo/virtualMachines/web-1" five_level: true
            })"),
          Parse<v1::Device>(R"(
            name: "hosts/host-a/devices/0000:02:00.0"
            status {
              vendor_id: 0x1af4 device_id: 0x1041 iommu_group: -1 numa_node: -1
              group_siblings: "0000:02:00.1" nest_granularity: NEST_GRANULARITY_NONE
              reason: "NO_IOMMU_GROUP" message: "boot with intel_iommu=on"
            })")};
}

std::vector<v1::VirtualMachine> SampleMachines() {
  return {Parse<v1::VirtualMachine>(
              absl::StrCat(R"(name: "projects/demo/virtualMachines/web-1")", kMetadata, R"(
            spec { placement {
              host: "hosts/host-a" devices: "0000:01:00.0" devices: "0000:02:00.0"
            } }
            status {
              state: STATE_READY vm_instance: "dddd" bindings: 10 programmed_bindings: 9
              conditions {
                type: "Ready" status: TRUTH_TRUE reason: "READY"
                last_transition_time { seconds: 1769850010 }
              }
            })")),
          Parse<v1::VirtualMachine>(R"(
            name: "projects/demo/virtualMachines/db-1"
            spec { placement { host: "hosts/host-a" } }
            status { state: STATE_PENDING })")};
}

std::vector<v1::PasidBinding> SampleBindings() {
  return {Binding("sva-1", R"(
            spec {
              device: "0000:01:00.0" pasid: 5 allow_translation_gap: true
              page_table {
                format: FORMAT_VTD_S1 root: 0x12345000 address_width: 48 supervisor_request: true
              }
            }
            status {
              state: STATE_PROGRAMMED observed_generation: 2 effective_pasid: 5
              programmed_root: 0x12345000 programmed_generation: 2 vm_instance: "dddd" attempts: 1
              times {
                persisted { seconds: 1769850000 } accepted { seconds: 1769850000 nanos: 4000000 }
                programmed { seconds: 1769850000 nanos: 9000000 } program_duration { nanos: 1500000 }
              }
              last_translation_gap { nanos: 42000 }
            })"),
          Binding("sva-2", R"(
            spec {
              device: "0000:01:00.0" any_of { first: 6 last: 9 }
              page_table { format: FORMAT_VTD_S1 root: 0x2000 address_width: 57 }
            }
            status {
              state: STATE_FAILED observed_generation: 2 effective_pasid: 6 attempts: 4
              failure {
                kind: KIND_TRANSIENT reason: "PASID_TAKEN_ON_HOST" message: "PASID 6 is taken"
                kernel_error {
                  operation: "VFIO_IOMMU_PASID_REQUEST" object: "pasid 6" error_number: 28
                  error_name: "ENOSPC"
                }
                next_attempt_time { seconds: 1769860801 }
              }
              times { persisted { seconds: 1769850000 } failed { seconds: 1769860790 } }
              conditions {
                type: "Programmed" status: TRUTH_FALSE reason: "PASID_TAKEN_ON_HOST"
                message: "an \033[31mescape\n" last_transition_time { seconds: 1769850010 }
              }
            })"),
          Binding("sva-3", R"(
            spec {
              device: "0000:02:00.0" rid {}
              page_table { format: FORMAT_VTD_S1 root: 0x3000 address_width: 48 }
            }
            status {
              state: STATE_FAILED observed_generation: 2
              failure { kind: KIND_PERMANENT reason: "UNSUPPORTED" }
            })"),
          Binding("sva-4", R"(
            spec { device: "0000:01:00.0" pasid: 10 page_table { root: 0x4000 } }
            status {
              state: STATE_PERSISTED observed_generation: 2 effective_pasid: 10
              conditions { type: "Programmed" status: TRUTH_FALSE reason: "WAITING_FOR_VMM" }
            })")};
}

v1::ExplainPasidBindingResponse SampleExplanation() {
  auto explanation = Parse<v1::ExplainPasidBindingResponse>(R"(
    rungs { name: "PERSISTED" reached: true time { seconds: 1769850000 } }
    rungs { name: "ACCEPTED" reached: true time { seconds: 1769850000 nanos: 4000000 } }
    rungs { name: "PROGRAMMED" }
    first_unmet: "PROGRAMMED" reason: "PASID_TAKEN_ON_HOST"
    cause: "another virtual machine of the host holds PASID 6"
    next_step: "nestorctl get bindings --host host-a")");
  *explanation.mutable_pasid_binding() = SampleBindings()[1];
  return explanation;
}

v1::GetPasidBindingTimelineResponse SampleTimeline() {
  return Parse<v1::GetPasidBindingTimelineResponse>(R"(
    events { kind: KIND_PERSISTED generation: 1 time { seconds: 1769850000 }
             message: "generation 1 was stored" }
    events { kind: KIND_FAILED generation: 1 epoch: 3 time { seconds: 1769850000 nanos: 4000000 }
             reason: "PASID_TAKEN_ON_HOST" count: 3 last_time { seconds: 1769850009 }
             message: "generation 1 could not be bound (PASID_TAKEN_ON_HOST): pasid 6 is taken" }
    events { kind: KIND_HOST_SILENT epoch: 3 time { seconds: 1769850060 }
             message: "the agent of hosts/host-a fell silent" }
    events { kind: KIND_PROGRAMMED generation: 1 epoch: 4 time { seconds: 1769850120 }
             latency { seconds: 120 }
             message: "the kernel of hosts/host-a walks the root of generation 1" })");
}

void ExpectGolden(absl::string_view name, const std::string& actual) {
  const std::string path = absl::StrCat(NESTOR_SOURCE_DIR, "/cli/testdata/", name);
  if (std::getenv("NESTOR_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << actual;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  std::ostringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(actual, expected.str()) << "differs from " << path;
}

}  // namespace nestor::cli
