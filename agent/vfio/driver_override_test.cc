#include "agent/vfio/driver_override.h"

#include <cerrno>
#include <memory>

#include "agent/core/kernel_error.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/test_directory.h"
#include "agent/vfio/test_syscalls.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr char kDevice[] = "0000:01:00.0";
constexpr char kBoot[] = "boot-1";

// Two devices of a host driver and one for VFIO.
kernel::SimMachine HostMachine() {
  kernel::SimMachine machine = kernel::DefaultSimMachine(3);
  machine.devices[0].driver = "idxd";
  machine.devices[1].driver = "idxd";
  return machine;
}

class DriverOverrideTest : public ::testing::Test {
 protected:
  explicit DriverOverrideTest(const kernel::SimMachine& machine = HostMachine())
      : kernel_(machine), process_(kernel_.CreateProcess()), syscalls_(*process_) {
    Restart();
  }

  // Another agent takes over, with what is on the disk.
  void Restart() {
    syscalls_.Start();
    record_ = std::make_unique<PreparationRecord>(
        PreparationRecord::Open(directory_.path(), kBoot).value());
    drivers_ = std::make_unique<DriverOverride>(syscalls_, *record_);
  }
  std::string DriverOf(const Bdf& device) { return ReadPciFunction(*process_, device)->driver; }
  std::string OverrideOf(const Bdf& device) {
    std::string content;
    EXPECT_EQ(process_->ReadFile("/sys/bus/pci/devices/" + device + "/driver_override", &content),
              0);
    return content;
  }
  void ExpectPrepared() {
    EXPECT_THAT(DriverOf(kDevice), Eq("vfio-pci"));
    EXPECT_THAT(record_->entries(), ElementsAre(Pair(kDevice, HostDriver{"idxd", ""})));
  }
  void ExpectGivenBack() {
    EXPECT_THAT(DriverOf(kDevice), Eq("idxd"));
    EXPECT_THAT(OverrideOf(kDevice), Eq("(null)\n"));
    EXPECT_THAT(record_->entries(), IsEmpty());
  }

  const TestDirectory directory_;
  kernel::SimKernel kernel_;
  const std::unique_ptr<kernel::SimProcess> process_;
  TestSyscalls syscalls_;
  std::unique_ptr<PreparationRecord> record_;
  std::unique_ptr<DriverOverride> drivers_;
};

TEST_F(DriverOverrideTest, GoesToVfioAndBack) {
  EXPECT_TRUE(drivers_->Prepare(kDevice).ok());
  ExpectPrepared();
  EXPECT_TRUE(drivers_->Prepare(kDevice).ok());
  ExpectPrepared();
  EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
  ExpectGivenBack();
  EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
}

TEST_F(DriverOverrideTest, FunctionWithoutDriverAndWithOverrideGetsBothBack) {
  const std::string device = std::string("/sys/bus/pci/devices/") + kDevice;
  ASSERT_EQ(process_->WriteFile(device + "/driver_override", "pci-stub"), 0);
  ASSERT_EQ(process_->WriteFile(device + "/driver/unbind", kDevice), 0);
  EXPECT_TRUE(drivers_->Prepare(kDevice).ok());
  EXPECT_THAT(DriverOf(kDevice), Eq("vfio-pci"));
  EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
  EXPECT_THAT(DriverOf(kDevice), IsEmpty());
  EXPECT_THAT(OverrideOf(kDevice), Eq("pci-stub\n"));
}

TEST_F(DriverOverrideTest, FunctionThatOthersPreparedIsTheirs) {
  EXPECT_TRUE(drivers_->Prepare("0000:03:00.0").ok());
  EXPECT_THAT(record_->entries(), IsEmpty());
}

TEST_F(DriverOverrideTest, FunctionThatVfioDoesNotTakeIsGivenBack) {
  syscalls_.Start([](const auto& call) {
    return call.path == "/sys/bus/pci/drivers_probe" ? TestSyscalls::Fail(EINVAL)
                                                     : TestSyscalls::Pass();
  });
  const absl::Status status = drivers_->Prepare(kDevice);
  EXPECT_THAT(GetKernelError(status),
              Eq(KernelError{"write", "/sys/bus/pci/drivers_probe", EINVAL}));
  ExpectGivenBack();
}

TEST_F(DriverOverrideTest, ProbeThatBindsNothingIsExplained) {
  syscalls_.Start([](const auto& call) {
    const bool is_probe = call.path == "/sys/bus/pci/drivers_probe";
    return is_probe ? TestSyscalls::Outcome{.answer = 0, .is_made = false} : TestSyscalls::Pass();
  });
  EXPECT_THAT(GetReason(drivers_->Prepare(kDevice)), Eq("DRIVER_NOT_VFIO"));
  ExpectGivenBack();
}

TEST_F(DriverOverrideTest, FunctionThatIsPulledOutMeanwhileIsForgotten) {
  EXPECT_TRUE(drivers_->Prepare(kDevice).ok());
  ASSERT_EQ(process_->WriteFile(std::string("/sys/bus/pci/devices/") + kDevice + "/remove", "1"),
            0);
  EXPECT_THAT(GetReason(drivers_->Prepare(kDevice)), Eq("NO_DEVICE"));
  EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
  EXPECT_THAT(record_->entries(), IsEmpty());
}

// The agent dies before the n-th call, for each n; the next one goes on in either direction.
class CrashTest : public DriverOverrideTest {
 protected:
  void DieBefore(int n) {
    syscalls_.Start([n](const auto& call) {
      return call.number >= n ? TestSyscalls::Fail(EIO) : TestSyscalls::Pass();
    });
  }
};

TEST_F(CrashTest, PreparationIsFinishedOrUndone) {
  bool was_cut = true;
  for (int n = 1; was_cut; ++n) {
    SCOPED_TRACE(testing::Message() << "call " << n);
    for (const bool is_wanted : {true, false}) {
      DieBefore(n);
      was_cut = !drivers_->Prepare(kDevice).ok();
      Restart();
      if (is_wanted) {
        EXPECT_TRUE(drivers_->Prepare(kDevice).ok());
        ExpectPrepared();
      }
      EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
      ExpectGivenBack();
    }
    ASSERT_LT(n, 100);
  }
}

TEST_F(CrashTest, WayBackIsFinishedOrUndone) {
  bool was_cut = true;
  for (int n = 1; was_cut; ++n) {
    SCOPED_TRACE(testing::Message() << "call " << n);
    for (const bool is_wanted : {true, false}) {
      ASSERT_TRUE(drivers_->Prepare(kDevice).ok());
      DieBefore(n);
      was_cut = !drivers_->GiveBack(kDevice).ok();
      Restart();
      if (is_wanted) {
        EXPECT_TRUE(drivers_->Prepare(kDevice).ok());
        ExpectPrepared();
      }
      EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
      ExpectGivenBack();
    }
    ASSERT_LT(n, 100);
  }
}

TEST_F(CrashTest, OneFailedCallLeavesEitherState) {
  bool was_reached = true;
  for (int n = 1; was_reached; ++n) {
    SCOPED_TRACE(testing::Message() << "call " << n);
    was_reached = false;
    syscalls_.Start([&](const auto& call) {
      was_reached |= call.number == n;
      return call.number == n ? TestSyscalls::Fail(EINTR) : TestSyscalls::Pass();
    });
    if (drivers_->Prepare(kDevice).ok()) {
      ExpectPrepared();
    } else {
      EXPECT_THAT(DriverOf(kDevice), Eq("idxd"));
    }
    Restart();
    EXPECT_TRUE(drivers_->GiveBack(kDevice).ok());
    ExpectGivenBack();
    ASSERT_LT(n, 100);
  }
}

class SharedGroupTest : public DriverOverrideTest {
 protected:
  static kernel::SimMachine Machine() {
    kernel::SimMachine machine = HostMachine();
    machine.devices[1].iommu_group = 1;
    machine.devices[1].driver = "snd_hda_intel";
    return machine;
  }
  SharedGroupTest() : DriverOverrideTest(Machine()) {}
};

TEST_F(SharedGroupTest, SiblingsAreNamedAndNothingIsTouched) {
  const absl::Status status = drivers_->Prepare(kDevice);
  EXPECT_THAT(GetReason(status), Eq("GROUP_SHARED"));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("group 1"), HasSubstr("0000:02:00.0 (snd_hda_intel)")));
  ExpectGivenBack();
}

class PhysicalFunctionTest : public DriverOverrideTest {
 protected:
  static kernel::SimMachine Machine() {
    kernel::SimMachine machine = HostMachine();
    machine.devices[1].bdf = "0000:01:00.1";
    machine.devices[1].physical_function = kDevice;
    return machine;
  }
  PhysicalFunctionTest() : DriverOverrideTest(Machine()) {
    EXPECT_EQ(
        process_->WriteFile(std::string("/sys/bus/pci/devices/") + kDevice + "/sriov_numvfs", "1"),
        0);
  }
};

TEST_F(PhysicalFunctionTest, StaysWithItsDriverWhileItHasVirtualOnes) {
  EXPECT_THAT(GetReason(drivers_->Prepare(kDevice)), Eq("HAS_VIRTUAL_FUNCTIONS"));
  ExpectGivenBack();
}

TEST_F(PhysicalFunctionTest, VirtualFunctionIsPreparedAsAnyOther) {
  const PciFunction function = *ReadPciFunction(*process_, "0000:01:00.1");
  EXPECT_THAT(function.physical_function, Eq(kDevice));
  EXPECT_THAT(ReadPciFunction(*process_, kDevice)->virtual_functions, Eq(1));
  EXPECT_TRUE(drivers_->Prepare("0000:01:00.1").ok());
  EXPECT_THAT(DriverOf("0000:01:00.1"), Eq("vfio-pci"));
}

}  // namespace
}  // namespace nestor::agent
