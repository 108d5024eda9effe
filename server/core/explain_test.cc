#include "server/core/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"

namespace nestor::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ExplainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    state_.AddConnectedHost();
    ASSERT_TRUE(state_.CreateMachine(WantedMachine()).ok());
    ASSERT_TRUE(state_.CreateBinding(WantedBinding(name_, 7)).ok());
  }

  // The agent's answer for generation 1, accepted at second 110.
  static v1::PasidBindingStatus Answer(v1::PasidBindingStatus::State state,
                                       const std::string& reason = "") {
    v1::PasidBindingStatus status;
    status.set_state(state);
    status.set_observed_generation(1);
    status.mutable_times()->mutable_accepted()->set_seconds(110);
    if (!reason.empty()) status.mutable_failure()->set_reason(reason);
    return status;
  }

  // "PERSISTED@100 ACCEPTED@110 PROGRAMMED"
  std::vector<std::string> Rungs() {
    std::vector<std::string> rungs;
    const auto explanation = Explain(state_.view(), name_);
    for (const auto& rung : explanation.rungs()) {
      rungs.push_back(rung.reached() ? absl::StrCat(rung.name(), "@", rung.time().seconds())
                                     : rung.name());
      EXPECT_EQ(rung.reached(), rung.has_time());
    }
    return rungs;
  }

  const std::string name_ = BindingName("b");
  TestView state_;
};

TEST_F(ExplainTest, JustPersistedWaitsForTheAgent) {
  EXPECT_THAT(Rungs(), ElementsAre("PERSISTED@100", "ACCEPTED", "PROGRAMMED"));
  const auto explanation = Explain(state_.view(), name_);
  EXPECT_EQ(explanation.pasid_binding().name(), name_);
  EXPECT_EQ(explanation.first_unmet(), "ACCEPTED");
  EXPECT_EQ(explanation.reason(), "WAITING_FOR_AGENT");
  EXPECT_THAT(explanation.cause(), HasSubstr("h1 has not answered"));
}

TEST_F(ExplainTest, ProgrammedHasNothingToSay) {
  v1::PasidBindingStatus status = Answer(v1::PasidBindingStatus::STATE_PROGRAMMED);
  status.mutable_times()->mutable_programmed()->set_seconds(111);
  state_.Observe(name_, status);
  EXPECT_THAT(Rungs(), ElementsAre("PERSISTED@100", "ACCEPTED@110", "PROGRAMMED@111"));
  const auto explanation = Explain(state_.view(), name_);
  EXPECT_THAT(explanation.first_unmet(), IsEmpty());
  EXPECT_THAT(explanation.reason(), IsEmpty());
  EXPECT_THAT(explanation.cause(), IsEmpty());
  EXPECT_THAT(explanation.next_step(), IsEmpty());
  EXPECT_EQ(ExplainShortly(explanation), "all rungs are reached");
}

TEST_F(ExplainTest, AnswerForAnEarlierGenerationIsNone) {
  v1::PasidBindingStatus status =
      Answer(v1::PasidBindingStatus::STATE_FAILED, "PASID_TAKEN_ON_HOST");
  status.set_observed_generation(0);
  state_.Observe(name_, status);
  EXPECT_THAT(Rungs(), ElementsAre("PERSISTED@100", "ACCEPTED", "PROGRAMMED"));
  EXPECT_EQ(Explain(state_.view(), name_).reason(), "WAITING_FOR_AGENT");
}

TEST_F(ExplainTest, DeletionWaitsForAbsent) {
  state_.Observe(name_, Answer(v1::PasidBindingStatus::STATE_PROGRAMMED));
  ASSERT_TRUE(state_.DeleteBinding(name_).ok());
  EXPECT_THAT(Rungs(), ElementsAre("PERSISTED@200", "ABSENT"));
  EXPECT_EQ(Explain(state_.view(), name_).first_unmet(), "ABSENT");
  EXPECT_EQ(Explain(state_.view(), name_).reason(), "WAITING_FOR_AGENT");
}

TEST_F(ExplainTest, SilentHostComesBeforeWhatItSaidLast) {
  state_.Observe(name_, Answer(v1::PasidBindingStatus::STATE_FAILED, "PASID_TAKEN_ON_HOST"));
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  const auto explanation = Explain(state_.view(), name_);
  EXPECT_EQ(explanation.reason(), "HOST_UNKNOWN");
  EXPECT_EQ(explanation.first_unmet(), "PROGRAMMED");
}

TEST_F(ExplainTest, ProgrammedOnASilentHostIsNotCertain) {
  state_.Observe(name_, Answer(v1::PasidBindingStatus::STATE_PROGRAMMED));
  state_.SetHostState(v1::HostStatus::STATE_UNKNOWN);
  EXPECT_EQ(Explain(state_.view(), name_).first_unmet(), "PROGRAMMED");
  EXPECT_EQ(Explain(state_.view(), name_).reason(), "HOST_UNKNOWN");
}

TEST_F(ExplainTest, HostNeverSeenNeedsItsAgent) {
  state_.SetHostState(v1::HostStatus::STATE_NEVER_SEEN);
  const auto explanation = Explain(state_.view(), name_);
  EXPECT_EQ(explanation.reason(), "HOST_NEVER_SEEN");
  EXPECT_THAT(explanation.next_step(), HasSubstr("nestor-agent"));
}

TEST_F(ExplainTest, SaysWhatTheAgentSaid) {
  v1::PasidBindingStatus status = Answer(v1::PasidBindingStatus::STATE_FAILED, "KERNEL_ERROR");
  status.mutable_failure()->set_message(
      "VFIO_IOMMU_NESTING_OP(BIND_PGTBL) on 0000:3b:00.0 pasid 7: EINVAL");
  state_.Observe(name_, status);
  const auto explanation = Explain(state_.view(), name_);
  EXPECT_EQ(explanation.reason(), "KERNEL_ERROR");
  EXPECT_THAT(explanation.cause(),
              HasSubstr("VFIO_IOMMU_NESTING_OP(BIND_PGTBL) on 0000:3b:00.0 pasid 7: EINVAL"));
  EXPECT_FALSE(explanation.next_step().empty());
}

TEST_F(ExplainTest, ShortlyIsOneLine) {
  state_.Observe(name_, Answer(v1::PasidBindingStatus::STATE_ACCEPTED, "WAITING_FOR_VMM"));
  const std::string line = ExplainShortly(Explain(state_.view(), name_));
  EXPECT_THAT(line, AllOf(HasSubstr("PROGRAMMED"), HasSubstr("WAITING_FOR_VMM"),
                          HasSubstr("nestorctl"), Not(HasSubstr("\n"))));
}

struct ReasonCase {
  const char* reason;
  const char* cause;
  const char* next_step;
};

class ExplainReason : public ExplainTest, public ::testing::WithParamInterface<ReasonCase> {};

TEST_P(ExplainReason, HasACauseAndANextStep) {
  state_.Observe(name_, Answer(v1::PasidBindingStatus::STATE_FAILED, GetParam().reason));
  const auto explanation = Explain(state_.view(), name_);
  EXPECT_EQ(explanation.first_unmet(), "PROGRAMMED");
  EXPECT_EQ(explanation.reason(), GetParam().reason);
  EXPECT_THAT(explanation.cause(), HasSubstr(GetParam().cause));
  EXPECT_THAT(explanation.next_step(), HasSubstr(GetParam().next_step));
  for (const std::string& text : {explanation.cause(), explanation.next_step()}) {
    EXPECT_THAT(text, Not(HasSubstr("$")));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Catalogue, ExplainReason,
    ::testing::Values(
        ReasonCase{"WAITING_FOR_VMM", "no virtual machine monitor", "vfio-user socket"},
        ReasonCase{"MEMORY_INCOMPLETE", "guest's memory", "nestorctl describe vm"},
        ReasonCase{"VM_INSTANCE_GONE", "gone or was reset", "pasidBindings/b"},
        ReasonCase{"VM_INSTANCE_MISMATCH", "another boot", "vm_instance"},
        ReasonCase{"TRANSLATION_GAP_NOT_ALLOWED", "the old root is still bound",
                   "allow_translation_gap"},
        ReasonCase{"PASID_TAKEN_ON_HOST", "PASID 7", "any_of"},
        ReasonCase{"PASID_CONFLICT", "another binding of the machine", "delete one"},
        ReasonCase{"UNSUPPORTED", "nests only as a whole", "nestorctl describe device"},
        ReasonCase{"FIELD_INVALID", "refused a value", "apply again"},
        ReasonCase{"FORMAT_UNSUPPORTED", "page tables of this format", "nestorctl describe device"},
        ReasonCase{"DEVICE_UNSUITABLE", "device cannot", "0000:3b:00.0"},
        ReasonCase{"DEVICE_NOT_ATTACHED", "could not be opened", "nestorctl describe vm"},
        ReasonCase{"GROUP_NOT_VIABLE", "IOMMU group", "unbind"},
        ReasonCase{"KERNEL_BUSY", "retried", "nestorctl wait"},
        ReasonCase{"KERNEL_ERROR", "kernel", "kernel log on"},
        ReasonCase{"HOST_OUT_OF_MEMORY", "memory", "limit"},
        ReasonCase{"PERMISSION", "may not", "access"},
        ReasonCase{"VM_UNKNOWN", "machine", "nestor-agent"},
        ReasonCase{"NEVER_HEARD_OF", "refused it", "nestor-agent's log"}));

}  // namespace
}  // namespace nestor::server
