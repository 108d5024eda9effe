#include "cli/local/local_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/support/errors.h"
#include "cli/local/local_error.h"
#include "cli/sample_resources.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::KernelTrace SampleTrace() {
  v1::KernelTrace trace;
  v1::KernelCall& bind = *trace.add_calls();
  bind.set_call("ioctl");
  bind.set_operation("VFIO_IOMMU_NESTING_OP(BIND_PGTBL)");
  bind.set_object("/dev/vfio/vfio");
  bind.set_argument(std::string("\x50\0\0\0\0\0\0\0\x48\0\0\0\x01\0\0\0\x01\0\0\0", 20));
  bind.set_result(-16);
  bind.set_error_name("EBUSY");
  v1::KernelCall& open = *trace.add_calls();
  open.set_call("open");
  open.set_operation("flags 2");
  open.set_object("/dev/vfio/1");
  open.set_result(1048577);
  v1::KernelCall& read = *trace.add_calls();
  read.set_call("read");
  read.set_object("/sys/bus/pci/devices/0000:01:00.0/config");
  read.set_reply(std::string(300, 'x'));
  trace.set_dropped(7);
  return trace;
}

v1::DumpResponse SampleDump() {
  v1::DumpResponse dump;
  dump.set_standalone(true);
  dump.set_simulated(true);
  v1::HeldState& machine = *dump.add_machines();
  v1::HeldVirtualMachine& held = *machine.mutable_virtual_machine();
  held.set_name("projects/demo/virtualMachines/web-1");
  held.set_generation(3);
  held.set_vm_instance("8ec96a21-ab6f-43cb-9654-842a5caadb47");
  machine.mutable_fence()->set_incarnation("ab8485cc-c3e4-4f44-a10c-ce5120b7d929");
  machine.mutable_fence()->set_epoch(1);
  machine.mutable_fence()->set_head_revision(4);
  v1::HeldDevice& device = *machine.add_devices();
  device.set_device("0000:01:00.0");
  device.set_socket("/run/nestor-agent/vmm/demo.web-1/0000:01:00.0.sock");
  v1::GuestRegion& memory = *device.add_memory();
  memory.set_size(64 << 20);
  memory.set_writable(true);
  v1::HeldTable& table = *device.add_tables();
  table.set_pasid(7);
  table.mutable_page_table()->set_root(0x100000);
  table.mutable_page_table()->set_address_width(48);
  machine.add_pasids(7);
  machine.add_pasids(8);
  v1::Result& bound = *machine.add_bindings();
  bound.set_uid("local-2");
  bound.set_generation(1);
  bound.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  v1::Result& failed = *machine.add_bindings();
  failed.set_uid("local-3");
  failed.set_generation(2);
  failed.set_outcome(v1::Result::OUTCOME_FAILED);
  failed.mutable_failure()->set_reason("KERNEL_BUSY");
  failed.mutable_failure()->set_message("the kernel is busy");
  v1::KernelError& error = *failed.mutable_failure()->mutable_kernel_error();
  error.set_operation("VFIO_IOMMU_NESTING_OP(BIND_PGTBL)");
  error.set_object("0000:01:00.0 pasid 8");
  error.set_error_name("EBUSY");
  dump.add_machines()->mutable_virtual_machine()->set_name("projects/demo/virtualMachines/web-2");
  return dump;
}

TEST(LocalText, DumpMatchesItsGoldenFile) {
  ExpectGolden("local.dump.txt", DumpText(SampleDump()));
}

TEST(LocalText, TraceMatchesItsGoldenFile) {
  ExpectGolden("local.trace.txt", TraceText(SampleTrace()));
}

TEST(LocalText, BindSaysWhereTheMonitorConnectsOnlyWhileItIsMissing) {
  v1::BindRequest request;
  request.set_device("0000:01:00.0");
  request.set_pasid(7);
  v1::BindResponse response;
  response.set_socket("/run/x.sock");
  response.mutable_result()->set_outcome(v1::Result::OUTCOME_ACCEPTED);
  response.mutable_result()->mutable_failure()->set_reason("WAITING_FOR_VMM");
  response.mutable_result()->mutable_failure()->set_message("no monitor");
  EXPECT_EQ(BindText(request, response),
            "PASID 7 of 0000:01:00.0: ACCEPTED, WAITING_FOR_VMM: no monitor\n"
            "next: connect the monitor to /run/x.sock\n");
  response.mutable_result()->clear_failure();
  response.mutable_result()->set_outcome(v1::Result::OUTCOME_PROGRAMMED);
  EXPECT_EQ(BindText(request, response), "PASID 7 of 0000:01:00.0: PROGRAMMED\n");
}

TEST(LocalText, DmaTestShowsBytesOrTheFault) {
  v1::DmaTestResponse response;
  response.set_data(std::string("hello\0\x7f", 7));
  EXPECT_EQ(DmaTestText(response),
            "00000000  68 65 6c 6c 6f 00 7f                             |hello..|\n");
  response.mutable_fault()->set_reason_name("PASID_INVALID");
  response.mutable_fault()->set_address(0x7f0000000000);
  EXPECT_EQ(DmaTestText(response), "fault PASID_INVALID at 0x7f0000000000\n");
}

TEST(LocalText, NothingOfAnAgentSteersTheTerminal) {
  v1::DumpResponse dump;
  dump.add_machines()->mutable_virtual_machine()->set_name("\x1b[2J");
  EXPECT_THAT(DumpText(dump), Not(HasSubstr("\x1b")));
}

TEST(LocalError, SaysFieldReasonAndNextStep) {
  FieldViolations violations;
  violations.Add("pasid", "must be 1 to 1048575");
  EXPECT_EQ(LocalErrorText("bind PASID 0", violations.ToStatus(), "unix:/x"),
            "error: cannot bind PASID 0: the agent refused it\n"
            "  field:   pasid: must be 1 to 1048575\n"
            "  reason:  INVALID_ARGUMENT FIELD_INVALID\n"
            "  next:    correct the fields named above and try again\n");
}

TEST(LocalError, AgentWithAServerIsSaidClearly) {
  const std::string text = LocalErrorText("bind PASID 7", errors::NotStandalone(), "unix:/x");
  EXPECT_THAT(text, HasSubstr("a server decides what is bound on this host"));
  EXPECT_THAT(text, HasSubstr("reason:  FAILED_PRECONDITION NOT_STANDALONE"));
  EXPECT_THAT(text, HasSubstr("nestor-agent --standalone"));
}

TEST(LocalError, AgentThatCannotBeReachedIsNamed) {
  EXPECT_THAT(LocalErrorText("dump", absl::UnavailableError("connect failed"), "unix:/x"),
              HasSubstr("unix:/x"));
}

}  // namespace
}  // namespace nestor::cli
