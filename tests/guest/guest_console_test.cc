#include "tests/guest/guest_console.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::guest {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class GuestConsoleTest : public testing::Test {
 protected:
  std::unique_ptr<Guest> guest_ = Guest::Create(1 << 20).value();
};

TEST_F(GuestConsoleTest, UnknownCommandsAreRefused) {
  GuestConsole console(*guest_, {"0000:01:00.0"});
  for (const char* line : {"", "  ", "help", "dma", "DMA-READ 1 2 3"}) {
    EXPECT_THAT(console.Execute(line), StartsWith("error ")) << line;
  }
}

TEST_F(GuestConsoleTest, MissingAndSuperfluousWordsAreRefused) {
  GuestConsole console(*guest_, {"0000:01:00.0"});
  EXPECT_THAT(console.Execute("dma-read 5 0x1000"), StartsWith("error dma-read takes 3 words"));
  EXPECT_THAT(console.Execute("storm 5 0x1000 text 1 0000:01:00.0 more"), StartsWith("error "));
}

TEST_F(GuestConsoleTest, WhatIsNoNumberIsNamed) {
  GuestConsole console(*guest_, {"0000:01:00.0"});
  EXPECT_THAT(console.Execute("dma-read five 0x1000 4"), HasSubstr("PASID five"));
  EXPECT_THAT(console.Execute("dma-read 5 0xnowhere 4"), HasSubstr("address 0xnowhere"));
  EXPECT_THAT(console.Execute("dma-read 5 0x1000 -4"), HasSubstr("length -4"));
  EXPECT_THAT(console.Execute("storm 5 0x1000 text 1000001"), HasSubstr("at most"));
}

TEST_F(GuestConsoleTest, DeviceIsNeededWhereThereAreSeveral) {
  GuestConsole console(*guest_, {"0000:01:00.0", "0000:02:00.0"});
  EXPECT_THAT(console.Execute("dma-read 5 0x1000 4"), HasSubstr("which device"));
}

TEST_F(GuestConsoleTest, DeviceThatIsNotConnectedIsNamed) {
  GuestConsole console(*guest_, {"0000:01:00.0"});
  EXPECT_THAT(console.Execute("dma-read 5 0x1000 4 0000:09:00.0"), HasSubstr("0000:09:00.0"));
}

}  // namespace
}  // namespace nestor::guest
