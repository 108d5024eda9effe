#include "agent/kernel/sim_kernel.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/kernel/test_dma.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

// Many threads of several processes use one kernel: for the thread sanitizer, and to show
// that nothing is left behind.
TEST(SimKernelTest, ThreadsLeaveNothingBehind) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 20;
  SimKernel kernel(DefaultSimMachine(kThreads));
  const auto shared_process = kernel.CreateProcess();
  const auto work = [&](int number, SimProcess& process) {
    const TestRam ram(kRam);
    TestPageTable table(ram, kRoot);
    table.Map(kAddress, kPageA);
    ram.Write(kPageA, "text");
    const std::string bdf = DefaultSimMachine(kThreads).devices[number].bdf;
    for (int round = 0; round < kRounds; ++round) {
      TestContainer container = TestContainer::Nesting(process, number + 1);
      TestEngine engine(process, container.OpenDevice(bdf.c_str()));
      const int pasid = container.Pasid(uapi::VFIO_IOMMU_FLAG_ALLOC_PASID, 1, 0xfffff);
      ASSERT_GT(pasid, 0);
      ASSERT_EQ(container.Map(ram), 0);
      ASSERT_EQ(container.Bind(static_cast<uint32_t>(pasid), kRoot), 0);
      ASSERT_EQ(engine.Read(static_cast<uint32_t>(pasid), kAddress, 4), "text");
      (void)kernel.Statistics();
      (void)kernel.Bindings();
      ASSERT_EQ(container.Free(static_cast<uint32_t>(pasid)), 0);
      ASSERT_EQ(engine.Read(static_cast<uint32_t>(pasid), kAddress, 4), "");
    }
  };
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<SimProcess>> processes;
  for (int number = 0; number < kThreads; ++number) {
    processes.push_back(kernel.CreateProcess());
    SimProcess& process = number % 2 == 0 ? *shared_process : *processes.back();
    threads.emplace_back([&work, &process, number] { work(number, process); });
  }
  for (std::thread& thread : threads) thread.join();
  const uint64_t dmas = kThreads * kRounds;
  EXPECT_EQ(kernel.Statistics(), (SimStatistics{.dmas = dmas, .faults = dmas}));
}

}  // namespace
}  // namespace nestor::kernel
