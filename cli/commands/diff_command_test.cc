// diff against the fake server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "cli/commands/fake_server.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kManifest[] = R"(
kind: VirtualMachine
name: web-1
spec: {placement: {host: host-a}}
bindings:
- {name: sva-1, spec: {pasid: 1}}
- {name: sva-2, spec: {pasid: 2}}
)";

class DiffCommandTest : public FakeServerTest {
 protected:
  void Store(int i, uint32_t pasid) {
    v1::PasidBinding binding = Binding(i, v1::PasidBindingStatus::STATE_PROGRAMMED);
    binding.mutable_spec()->set_pasid(pasid);
    fake_.bindings.stored[binding.name()] = binding;
  }
  void StoreMachine() {
    v1::VirtualMachine& machine = fake_.machines.stored[kMachine];
    machine.set_name(kMachine);
    machine.mutable_spec()->mutable_placement()->set_host("hosts/host-a");
  }
};

TEST_F(DiffCommandTest, OfWhatIsSoAlreadyIsEmpty) {
  StoreMachine();
  Store(1, 1);
  Store(2, 2);
  EXPECT_EQ(Run({"diff", "-f", "-"}, kManifest), ExitCode::kOk);
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(DiffCommandTest, ShowsWhatIsCreatedChangedAndDeletedAndChangesNothing) {
  StoreMachine();
  Store(1, 5);
  Store(3, 3);
  EXPECT_EQ(Run({"diff", "-f", "-"}, kManifest), ExitCode::kDiffers);
  EXPECT_EQ(out_.str(),
            "~ binding demo/web-1/sva-1\n"
            "    spec.pasid: 5 -> 1\n"
            "+ binding demo/web-1/sva-2\n"
            "    spec.pasid: 2\n"
            "- binding demo/web-1/sva-3\n");
  ASSERT_THAT(fake_.machines.applied, SizeIs(1));
  EXPECT_TRUE(fake_.machines.applied[0].validate_only());
}

TEST_F(DiffCommandTest, WhatIsOnItsWayOutIsNotDeletedAgain) {
  StoreMachine();
  Store(1, 1);
  Store(2, 2);
  Store(3, 3);
  auto& leaving = fake_.bindings.stored[absl::StrCat(kMachine, "/pasidBindings/sva-3")];
  leaving.mutable_metadata()->mutable_delete_time()->set_seconds(1);
  EXPECT_EQ(Run({"diff", "-f", "-"}, kManifest), ExitCode::kOk);
}

TEST_F(DiffCommandTest, RefusalIsToldFromADifference) {
  StoreMachine();
  fake_.machines.apply_error = errors::FieldInvalid("pasid_bindings[1].spec.device", "is required");
  EXPECT_EQ(Run({"diff", "-f", "-"}, kManifest), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("(web-1/sva-2 at <stdin>:7)"));
  EXPECT_THAT(out_.str(), IsEmpty());
}

TEST_F(DiffCommandTest, MachineOnAHostYetToBeCreatedIsShownUnchecked) {
  fake_.machines.apply_error = errors::HostUnknown("hosts/host-a");
  EXPECT_EQ(Run({"diff", "-f", "-"}, absl::StrCat("kind: Host\nname: host-a\n---", kManifest)),
            ExitCode::kDiffers);
  EXPECT_THAT(out_.str(), HasSubstr("+ host host-a\n+ virtual machine demo/web-1\n"
                                    "    spec.placement.host: hosts/host-a\n"));
  EXPECT_EQ(err_.str(), "");
}

}  // namespace
}  // namespace nestor::cli
