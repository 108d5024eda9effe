#include "agent/check/host_probe.h"

#include <cerrno>
#include <memory>
#include <string>

#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/test_syscalls.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Property;
using ::testing::SizeIs;

v1::HostCheck Read(const kernel::SimMachine& machine) {
  kernel::SimKernel kernel(machine);
  return ReadHostFacts(*kernel.CreateProcess(), "type1", 1 << 20);
}

TEST(ReadHostFactsTest, CommandLineIsReducedToWhatConcernsIommus) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.command_line = "quiet iommu=pt intel_iommu=on root=/dev/sda1";
  EXPECT_THAT(Read(machine).kernel().iommu_parameters(), ElementsAre("iommu=pt", "intel_iommu=on"));
}

TEST(ReadHostFactsTest, UnitsShowTheirRegister) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.pasid_bits = 16;
  const v1::HostCheck host = Read(machine);
  ASSERT_THAT(host.iommus(), SizeIs(1));
  EXPECT_EQ(host.iommus(0).name(), "dmar0");
  EXPECT_TRUE(host.iommus(0).vtd());
  EXPECT_TRUE(host.iommus(0).scalable_mode());
  EXPECT_TRUE(host.iommus(0).nested_translation());
  EXPECT_EQ(host.iommus(0).pasid_bits(), 16u);
}

TEST(ReadHostFactsTest, RegisterWithoutPasidsSaysZeroBits) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  machine.iommu.pasid_bits = 0;
  const v1::HostCheck host = Read(machine);
  EXPECT_TRUE(host.iommus(0).has_pasid_bits());
  EXPECT_EQ(host.iommus(0).pasid_bits(), 0u);
}

TEST(ReadHostFactsTest, MemoryLockLimitIsTheSoftOne) {
  kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  EXPECT_TRUE(Read(machine).memory_lock().unlimited());
  machine.memory_lock_limit = 8 << 20;
  EXPECT_FALSE(Read(machine).memory_lock().unlimited());
  EXPECT_EQ(Read(machine).memory_lock().bytes(), 8u << 20);
}

TEST(ReadHostFactsTest, NothingReadableIsNothingKnown) {
  kernel::SimKernel kernel(kernel::DefaultSimMachine(1));
  const std::unique_ptr<kernel::SimProcess> process = kernel.CreateProcess();
  TestSyscalls syscalls(*process);
  syscalls.Start([](const TestSyscalls::Call&) { return TestSyscalls::Fail(EACCES); });
  const v1::HostCheck host = ReadHostFacts(syscalls, "type1", 1 << 20);
  EXPECT_THAT(host.kernel().release(), IsEmpty());
  EXPECT_THAT(host.kernel().config_path(), IsEmpty());
  EXPECT_THAT(host.kernel().options(),
              Each(Property(&v1::KernelOption::value, v1::KernelOption::VALUE_UNSPECIFIED)));
  EXPECT_THAT(host.iommus(), IsEmpty());
  EXPECT_FALSE(host.memory_lock().unlimited());
  EXPECT_EQ(host.memory_lock().bytes(), 0u);
}

}  // namespace
}  // namespace nestor::agent
