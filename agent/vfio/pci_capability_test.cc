#include "agent/vfio/pci_capability.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;
using ::testing::Optional;

void PutWord(std::string& config, size_t offset, uint32_t word) {
  for (size_t byte = 0; byte < 4; ++byte)
    config[offset + byte] = static_cast<char>(word >> 8 * byte);
}

// ATS at 0x100, then PASID at 0x148.
std::string ConfigWithPasid(uint32_t width) {
  std::string config(4096, '\0');
  PutWord(config, 0x100, 0x1481'000f);
  PutWord(config, 0x148, 0x0001'001b);
  PutWord(config, 0x14c, width << 8 | 0x6);
  return config;
}

TEST(ParsePasidBitsTest, WidthIsFoundBehindOtherCapabilities) {
  EXPECT_THAT(ParsePasidBits(ConfigWithPasid(20)), Optional(20U));
  EXPECT_THAT(ParsePasidBits(ConfigWithPasid(16)), Optional(16U));
}

TEST(ParsePasidBitsTest, FunctionWithoutTheCapabilityHasNone) {
  EXPECT_THAT(ParsePasidBits(std::string(4096, '\0')), Optional(0U));
  EXPECT_THAT(ParsePasidBits(std::string(256, '\0')), Optional(0U));
  EXPECT_THAT(ParsePasidBits(std::string(4096, '\xff')), Optional(0U));
}

TEST(ParsePasidBitsTest, WhatOnlyThePrivilegedSeeIsUnknown) {
  EXPECT_THAT(ParsePasidBits(std::string(64, '\0')), Eq(std::nullopt));
  EXPECT_THAT(ParsePasidBits(""), Eq(std::nullopt));
}

TEST(ParsePasidBitsTest, LoopEnds) {
  std::string config(4096, '\0');
  PutWord(config, 0x100, 0x1481'000f);
  PutWord(config, 0x148, 0x1001'0001);
  EXPECT_THAT(ParsePasidBits(config), Optional(0U));
}

TEST(ParsePasidBitsTest, CapabilityCutOffAtTheEndIsRead) {
  std::string config(4096, '\0');
  PutWord(config, 0x100, 0xffc1'000f);
  PutWord(config, 0xffc, 0x0001'001b);
  EXPECT_THAT(ParsePasidBits(config), Optional(0U));
}

}  // namespace
}  // namespace nestor::agent
