// What an agent says, for tests of the server; and a clock that only a test moves.
#pragma once

#include <atomic>
#include <string>

#include "absl/time/time.h"
#include "api/support/clock.h"
#include "nestor/v1/agent_service.pb.h"
#include "server/core/test_view.h"

namespace nestor::server {

// Thread-safe.
class ManualClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixMillis(milliseconds_); }
  void Advance(absl::Duration duration) { milliseconds_ += absl::ToInt64Milliseconds(duration); }

 private:
  std::atomic<int64_t> milliseconds_ = 1'700'000'000'000;
};

inline constexpr char kBootId[] = "11111111-2222-4333-8444-555555555555";
inline constexpr char kOtherBootId[] = "99999999-2222-4333-8444-555555555555";

inline void AddTestDevice(const std::string& bdf, v1::Inventory* inventory) {
  v1::Device& device = *inventory->add_devices();
  device.set_name(absl::StrCat(kHost, "/devices/", bdf));
  device.mutable_status()->set_driver("vfio-pci");
  device.mutable_status()->set_pasid_bits(20);
  device.mutable_status()->set_address_width(48);
  device.mutable_status()->add_formats(v1::PageTable::FORMAT_VTD_S1);
  device.mutable_status()->set_nest_granularity(v1::NEST_GRANULARITY_PASID);
}

// Of an agent of kHost that holds nothing.
inline v1::SyncRequest TestHello(const std::string& boot_id = kBootId) {
  v1::SyncRequest message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_host(kHost);
  hello.set_agent_instance("agent-of-" + boot_id);
  hello.set_boot_id(boot_id);
  hello.set_agent_version("1.2.3");
  AddTestDevice(kDevice, hello.mutable_inventory());
  AddTestDevice(kOtherDevice, hello.mutable_inventory());
  return message;
}

// The answer to a binding for which the kernel call succeeded.
inline v1::Result ProgrammedResult(const v1::DesiredBinding& desired) {
  v1::Result result;
  result.set_uid(desired.uid());
  result.set_generation(desired.generation());
  result.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  result.set_device(desired.device());
  result.set_pasid(desired.pasid());
  result.set_programmed_root(desired.page_table().root());
  result.set_programmed_generation(desired.generation());
  result.set_vm_instance("boot-of-the-guest");
  result.set_attempts(1);
  result.mutable_time()->set_seconds(1'700'000'005);
  return result;
}

// The answer of an agent to which everything succeeds at once.
inline v1::SyncRequest AnswerTo(const v1::Desired& desired) {
  v1::SyncRequest message;
  v1::Results& results = *message.mutable_results();
  results.set_acked_seq(desired.delivery_seq());
  for (const v1::DesiredVirtualMachine& machine : desired.virtual_machines()) {
    v1::VirtualMachineResult& result = *results.add_virtual_machines();
    result.set_uid(machine.uid());
    result.set_generation(machine.generation());
    result.set_absent(machine.absent());
    if (!machine.absent()) result.set_vm_instance("boot-of-the-guest");
  }
  for (const v1::DesiredBinding& binding : desired.bindings()) {
    v1::Result& result = *results.add_bindings();
    result = ProgrammedResult(binding);
    if (!binding.absent()) continue;
    result.Clear();
    result.set_uid(binding.uid());
    result.set_generation(binding.generation());
    result.set_outcome(v1::Result::OUTCOME_ABSENT);
  }
  return message;
}

}  // namespace nestor::server
