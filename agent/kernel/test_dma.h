// Test only: a guest whose memory a simulated device reads and writes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/test_page_table.h"
#include "gtest/gtest.h"

namespace nestor::kernel {

inline constexpr uint64_t kRam = 0x100000;
inline constexpr uint64_t kRoot = kRam;
inline constexpr uint64_t kOtherRoot = kRam + 0x40000;
inline constexpr uint64_t kPageA = kRam + 0x100000;
inline constexpr uint64_t kPageB = kRam + 0x101000;
inline constexpr uint64_t kPageC = kRam + 0x180000;
inline constexpr uint64_t kAddress = 0x7f0000000000;
inline constexpr uint32_t kPasid = 5;

// A guest with two page tables that map kAddress to two texts; PASID 5 bound to the first.
class SimDmaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    table_.Map(kAddress, kPageA, 1, kRights);
    other_table_.Map(kAddress, kPageB, 1, kRights);
    ram_.Write(kPageA, "page of the first table");
    ram_.Write(kPageB, "page of another table..");
    ASSERT_EQ(container_.Map(ram_), 0);
    ASSERT_EQ(container_.Allocate(kPasid), static_cast<int>(kPasid));
    ASSERT_EQ(container_.Bind(kPasid, kRoot), 0);
  }
  std::string ReadText() { return engine_.Read(kPasid, kAddress, 23); }
  int IotlbEntries() const { return kernel_.Statistics().iotlb_entries; }

  // As a guest's driver sets it that wants no walk just to mark a page dirty.
  static constexpr uint64_t kRights = kTestAllRights | kTestAccessed | kTestDirty;

  const TestRam ram_{kRam};
  TestPageTable table_{ram_, kRoot};
  TestPageTable other_table_{ram_, kOtherRoot};
  SimKernel kernel_{DefaultSimMachine(2)};
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TestContainer container_ = TestContainer::Nesting(*process_);
  TestEngine engine_{*process_, container_.OpenDevice()};
};

}  // namespace nestor::kernel
