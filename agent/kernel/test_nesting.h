// Test only: a process that may bind.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/test_page_table.h"
#include "gtest/gtest.h"

namespace nestor::kernel {

inline constexpr uint32_t kPasid = 5;

inline SimStage1 Root(uint64_t root) { return {.root = root, .address_width = 48}; }

// A process with RAM past 0x12345000 mapped in a nesting container, and PASID 5.
class SimNestingTest : public ::testing::Test {
 protected:
  explicit SimNestingTest(const SimMachine& machine = DefaultSimMachine(2)) : kernel_(machine) {}

  void SetUp() override {
    ASSERT_EQ(container_.Map(ram_), 0);
    ASSERT_EQ(container_.Allocate(kPasid), static_cast<int>(kPasid));
  }
  // A bind of PASID 5 after a change to vector T3.
  int BindWith(const std::function<void(TestBind&)>& change) {
    TestBind bind;
    change(bind);
    return container_.Bind(bind);
  }
  // An unbind of PASID 5 with the same.
  int UnbindWith(const std::function<void(TestBind&)>& change) {
    TestBind unbind;
    unbind.header.flags = uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL;
    change(unbind);
    return container_.Bind(unbind);
  }
  int Bindings() const { return kernel_.Statistics().bindings; }

  const TestRam ram_{0x12300000};
  SimKernel kernel_;
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TestContainer container_ = TestContainer::Nesting(*process_, 1);
};

}  // namespace nestor::kernel
