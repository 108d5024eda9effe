#include "api/support/resource_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ResourceName, RoundTripsEveryKind) {
  EXPECT_EQ(HostName::Parse("hosts/h1.example")->ToString(), "hosts/h1.example");
  EXPECT_EQ(DeviceName::Parse("hosts/h/devices/0000:3b:00.7")->ToString(),
            "hosts/h/devices/0000:3b:00.7");
  EXPECT_EQ(VirtualMachineName::Parse("projects/p/virtualMachines/v-1")->ToString(),
            "projects/p/virtualMachines/v-1");
  EXPECT_EQ(PasidBindingName::Parse("projects/p/virtualMachines/v/pasidBindings/b")->ToString(),
            "projects/p/virtualMachines/v/pasidBindings/b");
}

TEST(ResourceName, HostileInputIsRefused) {
  const std::string bad[] = {"",
                             "hosts/",
                             "hosts/..",
                             "hosts/a..b",
                             "hosts/-a",
                             "hosts/A",
                             "hosts/a/b",
                             "host/a",
                             "hosts/a/",
                             "/hosts/a",
                             std::string("hosts/a\0b", 9),
                             "hosts/\xff",
                             "hosts/" + std::string(64, 'a'),
                             "hosts/" + std::string(65536, 'a')};
  for (const std::string& name : bad) {
    EXPECT_EQ(HostName::Parse(name).status().code(), absl::StatusCode::kInvalidArgument)
        << Printable(name);
  }
  EXPECT_FALSE(VirtualMachineName::Parse("projects/-/virtualMachines/v").ok());
  EXPECT_FALSE(VirtualMachineName::Parse("projects/1p/virtualMachines/v").ok());
  EXPECT_FALSE(PasidBindingName::Parse("projects/p/virtualMachines/v/pasidBindings/b-").ok());
}

TEST(ResourceName, RefusalIsShortAndPrintable) {
  const absl::Status status = HostName::Parse(std::string(65536, '\x01')).status();
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\\x01"));
}

TEST(ResourceName, WildcardOnlyInParents) {
  EXPECT_EQ(*ParseHostParent("hosts/-"), "");
  EXPECT_EQ(*ParseProjectParent("projects/-"), "");
  EXPECT_EQ(ParseVirtualMachineParent("projects/p/virtualMachines/-")->project, "p");
  EXPECT_FALSE(ParseProjectParent("projects/..").ok());
  EXPECT_FALSE(HostName::Parse("hosts/-").ok());
}

TEST(SplitPath, TakesExactlySoManyParts) {
  const auto parts = SplitPath<3>("a//c");
  ASSERT_TRUE(parts.has_value());
  EXPECT_THAT(*parts, ElementsAre("a", "", "c"));
  EXPECT_THAT(*SplitPath<1>(""), ElementsAre(""));
  for (const char* other : {"", "a/b", "a/b/c/d", "a/b/c/"}) {
    EXPECT_FALSE(SplitPath<3>(other).has_value()) << other;
  }
}

TEST(IsBdf, AcceptsTheKernelsFormOnly) {
  EXPECT_TRUE(IsBdf("0000:3b:1f.7"));
  for (const char* bad : {"3b:00.0", "0000:3b:00.8", "0000:3B:00.0", "0000:3b:20.0",
                          "0000:3b:00.0 ", "0000-3b:00.0", ""}) {
    EXPECT_FALSE(IsBdf(bad)) << bad;
  }
}

}  // namespace
}  // namespace nestor
