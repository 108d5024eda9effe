// `nestor-agent check` on whole simulated hosts: its output, byte for byte, and exit code.
#include "agent/check/check_command.h"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/test_syscalls.h"
#include "agent/vfio/type1_backend.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

struct Outcome {
  int exit_code = 0;
  std::string out;
  std::string err;
};

Outcome Check(const kernel::SimMachine& machine, const CheckOptions& options = {}) {
  kernel::SimKernel kernel(machine);
  const std::unique_ptr<kernel::SimProcess> process = kernel.CreateProcess();
  Type1Backend backend(*process);
  std::ostringstream out;
  std::ostringstream err;
  Outcome outcome;
  outcome.exit_code = RunCheckCommand(*process, backend, options, out, err);
  EXPECT_EQ(kernel.Statistics(), kernel::SimStatistics{}) << "the check left something open";
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

// Writes the file instead where NESTOR_UPDATE_GOLDEN is set.
void ExpectGolden(const std::string& name, const std::string& actual) {
  const std::string path = absl::StrCat(NESTOR_SOURCE_DIR, "/agent/check/testdata/", name);
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

TEST(CheckCommandTest, FitHostIsReady) {
  const Outcome outcome = Check(kernel::DefaultSimMachine(2));
  EXPECT_EQ(outcome.exit_code, 0);
  ExpectGolden("fit.txt", outcome.out);
}

TEST(CheckCommandTest, JsonHasEveryFact) {
  CheckOptions options;
  options.json = true;
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.devices[0].driver = "nvme";
  const Outcome outcome = Check(machine, options);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("wrong_driver.json", outcome.out);
}

TEST(CheckCommandTest, IommuSwitchedOffIsRepairedByAKernelParameter) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.enabled = false;
  machine.command_line = "quiet";
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("iommu_off.txt", outcome.out);
}

TEST(CheckCommandTest, HardwareWithoutNestingIsNamed) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.nesting = false;
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("no_nesting.txt", outcome.out);
}

TEST(CheckCommandTest, MainlineKernelIsNamed) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.personality = kernel::SimPersonality::kLinux7_2;
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("mainline.txt", outcome.out);
}

TEST(CheckCommandTest, SiblingsAreListedWithTheirDrivers) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(3);
  machine.devices[0].iommu_group = 7;
  machine.devices[1].iommu_group = 7;
  machine.devices[1].driver = "snd_hda_intel";
  machine.devices[1].pasid_bits = 0;
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("siblings.txt", outcome.out);
}

TEST(CheckCommandTest, WrongDriverDoesNotHideWhatElseIsMissing) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.devices[0].driver = "nvme";
  machine.iommu.nesting = false;
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("wrong_driver.txt", outcome.out);
}

TEST(CheckCommandTest, DeviceWithoutPasidsIsNamed) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.devices[0].pasid_bits = 0;
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("no_pasids.txt", outcome.out);
}

TEST(CheckCommandTest, MemoryLockLimitBelowTheGuestsIsNamed) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.memory_lock_limit = 8 << 20;
  CheckOptions options;
  options.guest_memory = uint64_t{4} << 30;
  const Outcome outcome = Check(machine, options);
  EXPECT_EQ(outcome.exit_code, 1);
  ExpectGolden("memlock_low.txt", outcome.out);
  options.guest_memory = 8 << 20;
  EXPECT_EQ(Check(machine, options).exit_code, 0);
}

TEST(CheckCommandTest, OnlyNamedDevicesCount) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(2);
  machine.devices[1].driver = "nvme";
  CheckOptions options;
  options.selection.devices = {"0000:01:00.0"};
  const Outcome outcome = Check(machine, options);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("1 of 1 devices are ready to nest"));
}

TEST(CheckCommandTest, DeviceThatIsNotThereIsWrongUsage) {
  CheckOptions options;
  options.selection.devices = {"0000:99:00.0"};
  const Outcome outcome = Check(kernel::DefaultSimMachine(1), options);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_THAT(outcome.err, StartsWith("nestor-agent: there is no PCI function 0000:99:00.0"));
}

TEST(CheckCommandTest, HostWithoutSuchDevicesHasNothingToCheck) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.devices[0].driver = "nvme";
  machine.devices[0].pasid_bits = 0;
  const Outcome outcome = Check(machine);
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.out, HasSubstr("No device to check"));
  CheckOptions options;
  options.selection.all = true;
  EXPECT_EQ(Check(machine, options).exit_code, 1);
}

TEST(CheckCommandTest, BridgesAreNoDevices) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.devices[0].class_code = 0x060400;
  CheckOptions options;
  options.selection.all = true;
  EXPECT_EQ(Check(machine, options).exit_code, 3);
}

// An account that may read what everybody may, and open nothing.
TEST(CheckCommandTest, UnprivilegedAccountIsToldWhatItMayNot) {
  kernel::SimKernel kernel(kernel::DefaultSimMachine(1));
  const std::unique_ptr<kernel::SimProcess> process = kernel.CreateProcess();
  TestSyscalls syscalls(*process);
  syscalls.Start([](const TestSyscalls::Call& call) {
    const bool is_denied =
        call.path.rfind("/dev/vfio/", 0) == 0 || call.path.rfind("/boot/", 0) == 0;
    return is_denied ? TestSyscalls::Fail(EACCES) : TestSyscalls::Pass();
  });
  Type1Backend backend(syscalls);
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunCheckCommand(syscalls, backend, {}, out, err), 1);
  ExpectGolden("unprivileged.txt", out.str());
}

TEST(CheckCommandTest, HostWithoutPciCannotBeProbed) {
  kernel::SimKernel kernel(kernel::DefaultSimMachine(1));
  const std::unique_ptr<kernel::SimProcess> process = kernel.CreateProcess();
  TestSyscalls syscalls(*process);
  syscalls.Start([](const TestSyscalls::Call& call) {
    return call.path == "/sys/bus/pci/devices" ? TestSyscalls::Fail(ENOENT) : TestSyscalls::Pass();
  });
  Type1Backend backend(syscalls);
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunCheckCommand(syscalls, backend, {}, out, err), 3);
  EXPECT_THAT(err.str(), HasSubstr("/sys/bus/pci/devices"));
}

}  // namespace
}  // namespace nestor::agent
