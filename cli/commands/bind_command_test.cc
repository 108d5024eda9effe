// bind and unbind against the fake server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "cli/commands/fake_server.h"

namespace nestor::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kDevice[] = "0000:01:00.0";

class BindCommandTest : public FakeServerTest {
 protected:
  ExitCode Bind(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"bind", "web-1/sva-3", "--device", kDevice};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
};

TEST_F(BindCommandTest, CreatesTheBindingAsTyped) {
  EXPECT_EQ(Bind({"--pasid", "3", "--root", "0x300000"}), ExitCode::kOk);
  ASSERT_THAT(fake_.bindings.created, SizeIs(1));
  const v1::PasidBinding& binding = fake_.bindings.created[0].pasid_binding();
  EXPECT_EQ(binding.name(), absl::StrCat(kMachine, "/pasidBindings/sva-3"));
  EXPECT_EQ(binding.spec().device(), kDevice);
  EXPECT_EQ(binding.spec().pasid(), 3u);
  EXPECT_EQ(binding.spec().page_table().root(), 0x300000u);
  EXPECT_EQ(binding.spec().page_table().format(), v1::PageTable::FORMAT_VTD_S1);
  EXPECT_EQ(binding.spec().page_table().address_width(), 48u);
  EXPECT_EQ(out_.str(), "binding demo/web-1/sva-3: created, pasid 3\n");
}

TEST_F(BindCommandTest, PicksFromARangeAndSaysWhichItGot) {
  EXPECT_EQ(Bind({"--any-of", "7-9", "--root", "300000"}), ExitCode::kOk);
  ASSERT_THAT(fake_.bindings.created, SizeIs(1));
  EXPECT_EQ(fake_.bindings.created[0].pasid_binding().spec().any_of().last(), 9u);
  EXPECT_THAT(out_.str(), HasSubstr("pasid 7\n"));
}

TEST_F(BindCommandTest, ChangesTheRootOfWhatExistsAndKeepsItsLabels) {
  v1::PasidBinding stored = Binding(3, v1::PasidBindingStatus::STATE_PROGRAMMED);
  stored.mutable_spec()->set_device(kDevice);
  stored.mutable_spec()->set_pasid(3);
  (*stored.mutable_metadata()->mutable_labels())["tier"] = "web";
  fake_.bindings.stored[stored.name()] = stored;
  EXPECT_EQ(Bind({"--pasid", "3", "--root", "0x400000"}), ExitCode::kOk);
  ASSERT_THAT(fake_.bindings.updated, SizeIs(1));
  const v1::PasidBinding& updated = fake_.bindings.updated[0].pasid_binding();
  EXPECT_EQ(updated.spec().page_table().root(), 0x400000u);
  EXPECT_EQ(updated.metadata().labels().at("tier"), "web");
  EXPECT_THAT(out_.str(), HasSubstr("updated"));
}

TEST_F(BindCommandTest, DryRunAsksTheServerToChangeNothing) {
  EXPECT_EQ(Bind({"--rid", "--root", "0x1000", "--dry-run", "--wait"}), ExitCode::kOk);
  ASSERT_THAT(fake_.bindings.created, SizeIs(1));
  EXPECT_TRUE(fake_.bindings.created[0].validate_only());
  EXPECT_TRUE(fake_.bindings.created[0].pasid_binding().spec().has_rid());
}

TEST_F(BindCommandTest, PrintsTheBindingWhereAskedTo) {
  EXPECT_EQ(Bind({"--pasid", "3", "--root", "0x300000", "-o", "yaml"}), ExitCode::kOk);
  EXPECT_THAT(out_.str(), HasSubstr("kind: PasidBinding\n"));
  EXPECT_THAT(out_.str(), HasSubstr("root: 0x300000"));
}

TEST_F(BindCommandTest, WaitEndsWhenTheKernelHasIt) {
  fake_.watch.streams = {
      {{Put(Binding(3, v1::PasidBindingStatus::STATE_PROGRAMMED))}, std::nullopt}};
  EXPECT_EQ(Bind({"--pasid", "3", "--root", "0x300000", "--wait"}), ExitCode::kOk);
  EXPECT_THAT(err_.str(), HasSubstr("1/1 programmed"));
}

TEST_F(BindCommandTest, WhatMakesNoSenseIsRefusedBeforeAnythingIsSent) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--root", "0x1000"},
      {"--root", "0x1000", "--pasid", "1", "--rid"},
      {"--pasid", "1"},
      {"--pasid", "1", "--root", "somewhere"},
      {"--pasid", "one", "--root", "0x1000"},
      {"--any-of", "1..9", "--root", "0x1000"},
      {"--pasid", "1", "--root", "0x1000", "--format", "vtd"}};
  for (const auto& arguments : wrong) {
    EXPECT_EQ(Bind(arguments), ExitCode::kUsage) << ::testing::PrintToString(arguments);
  }
  EXPECT_THAT(fake_.bindings.created, IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("did you mean \"vtd_s1\"?\nRun `nestorctl bind --help`"));
}

TEST_F(BindCommandTest, UnbindDeletesEachBinding) {
  EXPECT_EQ(Run({"unbind", "web-1/sva-3", "web-1/sva-4"}), ExitCode::kOk);
  EXPECT_THAT(fake_.bindings.deleted, ElementsAre(absl::StrCat(kMachine, "/pasidBindings/sva-3"),
                                                  absl::StrCat(kMachine, "/pasidBindings/sva-4")));
}

}  // namespace
}  // namespace nestor::cli
