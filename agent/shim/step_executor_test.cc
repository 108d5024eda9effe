#include "agent/shim/step_executor.h"

#include <cerrno>

#include "agent/core/kernel_error.h"
#include "agent/shim/recording_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kDevice[] = "0000:3b:00.0";
const absl::Status kTimedOut =
    KernelErrorStatus({"VFIO_DEVICE_RESET", kDevice, ENOTTY}, absl::StatusCode::kUnavailable);

class StepExecutorTest : public ::testing::Test {
 protected:
  StepExecutorTest() {
    backend_.SetHook([this](const Step& step) {
      const std::string name(NameOf(step));
      steps_.push_back(name);
      return failing_.contains(name) ? failing_[name] : absl::OkStatus();
    });
  }
  StepResult Do(const Step& step) {
    steps_.clear();
    return Execute(step, backend_, *space_);
  }

  RecordingBackend backend_;
  const std::unique_ptr<AddressSpace> space_ = backend_.CreateAddressSpace().value();
  std::vector<std::string> steps_;
  std::map<std::string, absl::Status> failing_;
};

TEST_F(StepExecutorTest, DeviceIsResetOnItsWayInAndOut) {
  const StepResult in = Do(AttachDevice{kDevice});
  EXPECT_TRUE(in.status.ok());
  EXPECT_THAT(in.reset, Eq(absl::OkStatus()));
  EXPECT_THAT(in.capabilities.granularity, Eq(NestGranularity::kPasid));
  EXPECT_THAT(steps_, ElementsAre("attach", "reset"));
  const StepResult out = Do(DetachDevice{kDevice});
  EXPECT_TRUE(out.status.ok());
  EXPECT_THAT(out.reset, Eq(absl::OkStatus()));
  EXPECT_THAT(steps_, ElementsAre("reset", "detach"));
}

TEST_F(StepExecutorTest, DeviceThatCannotBeResetIsNotHandedOut) {
  failing_["reset"] = kTimedOut;
  const StepResult result = Do(AttachDevice{kDevice});
  EXPECT_TRUE(absl::IsUnavailable(result.status)) << "another time it may work";
  EXPECT_THAT(GetReason(result.status), Eq("DEVICE_RESET_FAILED"));
  EXPECT_THAT(std::string(result.status.message()), HasSubstr("ENOTTY"));
  EXPECT_THAT(result.reset, Eq(kTimedOut));
  EXPECT_THAT(space_->state().devices, IsEmpty());
}

TEST_F(StepExecutorTest, DeviceThatCouldNotBeDetachedEitherIsResetAtTheNextAttempt) {
  failing_["reset"] = kTimedOut;
  failing_["detach"] = absl::InternalError("no");
  EXPECT_FALSE(Do(AttachDevice{kDevice}).status.ok());
  failing_ = {{"attach", absl::AlreadyExistsError("it is attached")}};
  EXPECT_TRUE(Do(AttachDevice{kDevice}).status.ok());
  EXPECT_THAT(steps_, ElementsAre("attach", "reset"));
}

TEST_F(StepExecutorTest, DeviceWithoutResetIsHandedOutAsItIs) {
  failing_["reset"] = absl::UnimplementedError("it has none");
  EXPECT_TRUE(Do(AttachDevice{kDevice}).status.ok());
  EXPECT_TRUE(Do(DetachDevice{kDevice}).status.ok());
}

TEST_F(StepExecutorTest, FailedResetKeepsNoDeviceInAMachine) {
  EXPECT_TRUE(Do(AttachDevice{kDevice}).status.ok());
  failing_["reset"] = kTimedOut;
  const StepResult result = Do(DetachDevice{kDevice});
  EXPECT_TRUE(result.status.ok());
  EXPECT_THAT(result.reset, Eq(kTimedOut));
  EXPECT_THAT(space_->state().devices, IsEmpty());
}

TEST_F(StepExecutorTest, OtherStepsResetNothing) {
  EXPECT_THAT(Do(AllocatePasid{5}).reset, Eq(std::nullopt));
}

}  // namespace
}  // namespace nestor::agent
