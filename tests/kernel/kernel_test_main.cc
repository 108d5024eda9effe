// nestor-kernel-test: the agent's own code on the kernel that it was booted with.
//
// Prints a line for each case: what this kernel offers was run, what it does not is named.
#include <iostream>
#include <string>

#include "gtest/gtest.h"

namespace nestor::kernel_test {
namespace {

class OutcomePrinter : public ::testing::EmptyTestEventListener {
 public:
  void OnTestStart(const ::testing::TestInfo&) override { missing_.clear(); }

  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.skipped()) missing_ = result.message();
    if (result.failed()) {
      std::cout << result.file_name() << ":" << result.line_number() << ": " << result.message()
                << std::endl;
    }
  }

  void OnTestEnd(const ::testing::TestInfo& test) override {
    std::cout << "case " << test.test_suite_name() << "." << test.name() << ": ";
    if (test.result()->Skipped()) {
      std::cout << "not offered by this kernel: " << missing_ << std::endl;
    } else {
      std::cout << (test.result()->Failed() ? "FAILED" : "ran") << std::endl;
    }
  }

 private:
  std::string missing_;
};

}  // namespace
}  // namespace nestor::kernel_test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::TestEventListeners& listeners = ::testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new nestor::kernel_test::OutcomePrinter);
  return RUN_ALL_TESTS();
}
