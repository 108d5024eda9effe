#include "cli/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/nearest_name.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;

TEST(Names, ShortNamesAreCompletedInTheProject) {
  EXPECT_EQ(*FullName(Kind::kHost, "host-a", "demo"), "hosts/host-a");
  EXPECT_EQ(*FullName(Kind::kDevice, "host-a/0000:01:00.0", "demo"),
            "hosts/host-a/devices/0000:01:00.0");
  EXPECT_EQ(*FullName(Kind::kVirtualMachine, "web-1", "demo"),
            "projects/demo/virtualMachines/web-1");
  EXPECT_EQ(*FullName(Kind::kPasidBinding, "web-1/sva-3", "demo"),
            "projects/demo/virtualMachines/web-1/pasidBindings/sva-3");
}

TEST(Names, FullNamesKeepTheirProject) {
  const std::string binding = "projects/other/virtualMachines/web-1/pasidBindings/sva-3";
  EXPECT_EQ(*FullName(Kind::kPasidBinding, binding, "demo"), binding);
  EXPECT_EQ(*FullName(Kind::kHost, "hosts/h", "demo"), "hosts/h");
}

TEST(Names, NamesOfAnotherKindAreRefused) {
  EXPECT_THAT(FullName(Kind::kPasidBinding, "web-1", "demo").status().message(),
              HasSubstr("for example web-1/sva-3"));
  EXPECT_FALSE(FullName(Kind::kVirtualMachine, "web-1/sva-3", "demo").ok());
  EXPECT_FALSE(FullName(Kind::kVirtualMachine, "hosts/h", "demo").ok());
  EXPECT_FALSE(FullName(Kind::kHost, "", "demo").ok());
  EXPECT_FALSE(FullName(Kind::kHost, "..", "demo").ok());
}

TEST(Names, ShortNameDropsCollectionsAndProject) {
  const std::string binding = "projects/demo/virtualMachines/web-1/pasidBindings/sva-3";
  EXPECT_EQ(ShortName(binding), "web-1/sva-3");
  EXPECT_EQ(ShortName(binding, true), "demo/web-1/sva-3");
  EXPECT_EQ(ShortName("hosts/host-a/devices/0000:01:00.0"), "host-a/0000:01:00.0");
  EXPECT_EQ(ShortName(""), "");
  EXPECT_EQ(ShortName("odd"), "odd");
}

TEST(Names, KindsHaveSingularPluralAndApiForms) {
  EXPECT_EQ(*ParseKind("vm"), Kind::kVirtualMachine);
  EXPECT_EQ(*ParseKind("virtualMachines"), Kind::kVirtualMachine);
  EXPECT_EQ(*ParseKind("bindings"), Kind::kPasidBinding);
  EXPECT_THAT(ParseKind("binding5").status().message(), HasSubstr("did you mean \"bindings\"?"));
  EXPECT_THAT(ParseKind("pods").status().message(), HasSubstr("unknown kind \"pods\""));
}

TEST(NearestName, MisspellingsFindTheirWord) {
  const std::vector<std::string> known = {"device", "pageTable", "vmInstance"};
  EXPECT_EQ(NearestName("devise", known), "device");
  EXPECT_EQ(NearestName("page_table", known), "pageTable");
  EXPECT_EQ(NearestName("VMINSTANCE", known), "vmInstance");
  EXPECT_EQ(NearestName("colour", known), "");
  EXPECT_EQ(NearestName(std::string(100'000, 'd'), known), "");
}

}  // namespace
}  // namespace nestor::cli
