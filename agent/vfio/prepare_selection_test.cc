#include "agent/vfio/prepare_selection.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;
using ::testing::HasSubstr;

PciFunction Accelerator() {
  PciFunction function;
  function.bdf = "0000:3b:00.0";
  function.vendor_id = 0x8086;
  function.device_id = 0x0b25;
  function.class_code = 0x088000;
  return function;
}

PrepareSelection Parse(const std::vector<std::string>& texts) {
  return ParsePrepareSelection(texts).value_or(PrepareSelection());
}

TEST(PrepareSelectionTest, TakesAddressesAndModels) {
  EXPECT_THAT(Parse({"0000:3b:00.0", "8086:0b25"}),
              Eq(PrepareSelection{{"0000:3b:00.0"}, {{0x8086, 0x0b25}}}));
}

TEST(PrepareSelectionTest, RefusesWhatIsNeither) {
  for (const char* text : {"", "3b:00.0", "0000:3B:00.0", "8086", "8086:0b2", "8086:0b25:1",
                           "0000:3b:00.0/..", "all"}) {
    const absl::Status status = ParsePrepareSelection({text}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("8086:0b25"));
  }
}

TEST(PrepareSelectionTest, SelectsByAddressOrModel) {
  EXPECT_TRUE(Parse({"0000:3b:00.0"}).Selects(Accelerator()));
  EXPECT_TRUE(Parse({"8086:0b25"}).Selects(Accelerator()));
  EXPECT_FALSE(Parse({"0000:3c:00.0", "8086:0b26"}).Selects(Accelerator()));
  EXPECT_FALSE(PrepareSelection().Selects(Accelerator()));
}

TEST(PrepareSelectionTest, BridgeNeedsItsAddress) {
  PciFunction bridge = Accelerator();
  bridge.class_code = 0x060400;
  EXPECT_FALSE(Parse({"8086:0b25"}).Selects(bridge));
}

}  // namespace
}  // namespace nestor::agent
