#include "agent/check/judgement.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A function of its own group behind dmar0 on which probing found nothing wrong.
ProbedDevice FitDevice() {
  ProbedDevice device;
  device.backend = "type1";
  device.iommu = "dmar0";
  device.facts.function.bdf = "0000:3b:00.0";
  device.facts.function.driver = "vfio-pci";
  device.facts.function.iommu_group = 12;
  device.facts.function.pasid_bits = 20;
  device.facts.capabilities.granularity = NestGranularity::kPasid;
  device.facts.capabilities.pasid_bits = 20;
  return device;
}

// The same, probed with a refusal.
ProbedDevice RefusedDevice(const std::string& reason) {
  ProbedDevice device = FitDevice();
  device.facts.capabilities = {};
  device.facts.capabilities.reason = reason;
  device.facts.capabilities.message = "as probed";
  return device;
}

v1::HostCheck HostWithUnit(const std::string& name) {
  v1::HostCheck host;
  v1::IommuUnit& unit = *host.add_iommus();
  unit.set_name(name);
  unit.set_vtd(name == "dmar0");
  return host;
}

v1::DeviceCheck JudgeOne(const v1::HostCheck& host, const ProbedDevice& device) {
  return Judge(host, {device}).devices(0);
}

std::vector<std::string> Reasons(const v1::DeviceCheck& check) {
  std::vector<std::string> reasons;
  for (const v1::Finding& finding : check.findings()) reasons.push_back(finding.reason());
  return reasons;
}

std::vector<std::string> Fixes(const v1::DeviceCheck& check, const std::string& reason) {
  for (const v1::Finding& finding : check.findings()) {
    if (finding.reason() == reason) return {finding.fixes().begin(), finding.fixes().end()};
  }
  return {"not found"};
}

TEST(JudgeTest, WhatProbingSawIsBelievedAgainstTheFiles) {
  v1::HostCheck host = HostWithUnit("dmar0");
  host.mutable_iommus(0)->set_nested_translation(false);
  host.mutable_kernel()->add_options()->set_value(v1::KernelOption::VALUE_OFF);
  const v1::DeviceCheck check = JudgeOne(host, FitDevice());
  EXPECT_TRUE(check.ready());
  EXPECT_THAT(Reasons(check), IsEmpty());
}

TEST(JudgeTest, MessageIsTheInventorysAndComesFirstForItsReason) {
  v1::HostCheck host = HostWithUnit("dmar0");
  host.mutable_iommus(0)->set_nested_translation(false);
  const v1::DeviceCheck check = JudgeOne(host, RefusedDevice("NESTING_UNSUPPORTED_HARDWARE"));
  ASSERT_THAT(Reasons(check), ElementsAre("NESTING_UNSUPPORTED_HARDWARE"));
  EXPECT_EQ(check.findings(0).message(), "as probed");
  EXPECT_EQ(check.status().message(), "as probed");
}

TEST(JudgeTest, FindingsAreInTheOrderOfRepair) {
  ProbedDevice device = RefusedDevice("DRIVER_NOT_VFIO");
  device.facts.function.driver = "nvme";
  device.facts.function.pasid_bits = 16;
  device.facts.function.group_siblings = {"0000:3b:00.1"};
  device.siblings.emplace_back().set_device("0000:3b:00.1");
  device.siblings[0].set_driver("snd_hda_intel");
  v1::HostCheck host = HostWithUnit("dmar0");
  host.mutable_iommus(0)->set_scalable_mode(false);
  host.mutable_memory_lock()->set_bytes(1);
  host.mutable_memory_lock()->set_needed_bytes(2);
  EXPECT_THAT(Reasons(JudgeOne(host, device)),
              ElementsAre("DRIVER_NOT_VFIO", "GROUP_NOT_VIABLE", "GROUP_SHARED",
                          "NESTING_UNSUPPORTED_HARDWARE", "PASID_UNSUPPORTED", "MEMLOCK_LOW"));
}

TEST(JudgeTest, SiblingForVfioLeavesTheGroupViable) {
  ProbedDevice device = RefusedDevice("DRIVER_NOT_VFIO");
  device.facts.function.driver = "";
  device.facts.function.group_siblings = {"0000:3b:00.1", "0000:3b:00.2"};
  device.siblings.resize(2);
  device.siblings[0].set_driver("vfio-pci");
  EXPECT_THAT(Reasons(JudgeOne({}, device)), ElementsAre("DRIVER_NOT_VFIO", "GROUP_SHARED"));
}

TEST(JudgeTest, OnlyTheUnitInFrontOfTheDeviceCounts) {
  v1::HostCheck host = HostWithUnit("dmar1");
  EXPECT_THAT(Reasons(JudgeOne(host, RefusedDevice("GROUP_BUSY"))), ElementsAre("GROUP_BUSY"));
}

TEST(JudgeTest, UnitOfAnotherVendorCannotNest) {
  ProbedDevice device = RefusedDevice("GROUP_BUSY");
  device.iommu = "ivhd0";
  EXPECT_THAT(Reasons(JudgeOne(HostWithUnit("ivhd0"), device)),
              ElementsAre("GROUP_BUSY", "NESTING_UNSUPPORTED_HARDWARE"));
}

TEST(JudgeTest, WhatIsNotKnownIsNotAFinding) {
  v1::HostCheck host = HostWithUnit("dmar0");
  host.mutable_kernel()->add_options()->set_name("CONFIG_VFIO");
  host.mutable_memory_lock()->set_needed_bytes(1);
  ProbedDevice device = RefusedDevice("GROUP_BUSY");
  device.facts.function.pasid_bits.reset();
  EXPECT_THAT(Reasons(JudgeOne(host, device)), ElementsAre("GROUP_BUSY"));
}

TEST(JudgeTest, MissingKernelOptionsAreNamed) {
  v1::HostCheck host;
  for (const char* name : {"CONFIG_VFIO", "CONFIG_VFIO_PASID"}) {
    v1::KernelOption& option = *host.mutable_kernel()->add_options();
    option.set_name(name);
    option.set_value(v1::KernelOption::VALUE_OFF);
  }
  const v1::DeviceCheck check = JudgeOne(host, RefusedDevice("NO_VFIO"));
  ASSERT_THAT(Reasons(check), ElementsAre("NO_VFIO", "NESTING_UNSUPPORTED_KERNEL"));
  EXPECT_THAT(check.findings(1).message(), HasSubstr("without CONFIG_VFIO, CONFIG_VFIO_PASID"));
}

TEST(JudgeTest, KernelParameterIsNoFixWhereItIsSet) {
  v1::HostCheck host;
  EXPECT_THAT(Fixes(JudgeOne(host, RefusedDevice("NESTING_UNSUPPORTED_HARDWARE")),
                    "NESTING_UNSUPPORTED_HARDWARE"),
              ElementsAre(HasSubstr("intel_iommu=on,sm_on"), "update-grub", "reboot"));
  host.mutable_kernel()->add_iommu_parameters("intel_iommu=on,sm_on");
  EXPECT_THAT(Fixes(JudgeOne(host, RefusedDevice("NESTING_UNSUPPORTED_HARDWARE")),
                    "NESTING_UNSUPPORTED_HARDWARE"),
              IsEmpty());
}

TEST(JudgeTest, NoCommandGivesADevicePasids) {
  ProbedDevice device = RefusedDevice("PASID_UNSUPPORTED");
  EXPECT_THAT(Fixes(JudgeOne({}, device), "PASID_UNSUPPORTED"), testing::SizeIs(3));
  device.facts.function.pasid_bits = 0;
  EXPECT_THAT(Fixes(JudgeOne({}, device), "PASID_UNSUPPORTED"), IsEmpty());
}

TEST(JudgeTest, ReasonsThatOnlyOpeningShowsHaveTheirCommands) {
  EXPECT_THAT(Fixes(JudgeOne({}, RefusedDevice("NO_VFIO")), "NO_VFIO"),
              ElementsAre("modprobe vfio-pci"));
  EXPECT_THAT(Fixes(JudgeOne({}, RefusedDevice("GROUP_BUSY")), "GROUP_BUSY"),
              ElementsAre("fuser -v /dev/vfio/12"));
  EXPECT_THAT(Fixes(JudgeOne({}, RefusedDevice("PERMISSION")), "PERMISSION"),
              ElementsAre(HasSubstr("/dev/vfio/vfio /dev/vfio/12")));
  EXPECT_THAT(Fixes(JudgeOne({}, RefusedDevice("PASID_QUOTA")), "PASID_QUOTA"), testing::SizeIs(2));
  EXPECT_THAT(Fixes(JudgeOne({}, RefusedDevice("PROBE_FAILED")), "PROBE_FAILED"),
              testing::SizeIs(1));
}

// On a host of iommufd

ProbedDevice IommufdDevice(const std::string& reason, const std::string& unit) {
  ProbedDevice device = RefusedDevice(reason);
  device.backend = "iommufd";
  device.iommu = unit;
  return device;
}

TEST(JudgeIommufdTest, NarrowPasidsAndOtherIommusAreNoObstacles) {
  v1::HostCheck host = HostWithUnit("smmu3.0x2b400000");
  host.mutable_iommus(0)->set_pasid_bits(0);
  ProbedDevice device = IommufdDevice("GROUP_BUSY", "smmu3.0x2b400000");
  device.facts.function.pasid_bits = 16;
  EXPECT_THAT(Reasons(JudgeOne(host, device)), ElementsAre("GROUP_BUSY"));
}

TEST(JudgeIommufdTest, FixesAreOfTheDeviceFiles) {
  const auto fixes = [](const std::string& reason) {
    return Fixes(JudgeOne({}, IommufdDevice(reason, "dmar0")), reason);
  };
  EXPECT_THAT(fixes("NO_IOMMUFD"), ElementsAre("modprobe iommufd", "modprobe vfio-pci"));
  EXPECT_THAT(fixes("PERMISSION"), ElementsAre(HasSubstr("/dev/iommu /dev/vfio/devices/*")));
  EXPECT_THAT(fixes("GROUP_BUSY"), ElementsAre("fuser -v /dev/vfio/12 /dev/vfio/devices/*"));
}

TEST(JudgeIommufdTest, ParametersOfVtdHelpNoOtherIommu) {
  const ProbedDevice device = IommufdDevice("NESTING_UNSUPPORTED_HARDWARE", "smmu3.0x2b400000");
  const v1::DeviceCheck check = JudgeOne(HostWithUnit("smmu3.0x2b400000"), device);
  EXPECT_THAT(Fixes(check, "NESTING_UNSUPPORTED_HARDWARE"), IsEmpty());
}

TEST(JudgeIommufdTest, MissingOptionsAreToldAsIommufdsOwn) {
  v1::HostCheck host;
  v1::KernelOption& option = *host.mutable_kernel()->add_options();
  option.set_name("CONFIG_VFIO_DEVICE_CDEV");
  option.set_value(v1::KernelOption::VALUE_OFF);
  const v1::DeviceCheck check = JudgeOne(host, IommufdDevice("NO_IOMMUFD", "dmar0"));
  ASSERT_THAT(Reasons(check), ElementsAre("NO_IOMMUFD", "NESTING_UNSUPPORTED_KERNEL"));
  EXPECT_THAT(check.findings(1).message(), HasSubstr("CONFIG_VFIO_DEVICE_CDEV"));
  EXPECT_THAT(check.findings(1).message(), Not(HasSubstr("VFIO_IOMMU_NESTING_OP")));
}

}  // namespace
}  // namespace nestor::agent
