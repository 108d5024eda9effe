#include "agent/vfio/type1_capability.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::Eq;

using Bytes = std::vector<uint8_t>;

Bytes FromHex(absl::string_view hex) {
  const std::string raw = absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}, {"\n", ""}}));
  return {raw.begin(), raw.end()};
}

void Put16(Bytes& bytes, size_t offset, uint16_t value) {
  bytes[offset] = static_cast<uint8_t>(value);
  bytes[offset + 1] = static_cast<uint8_t>(value >> 8);
}

void Put32(Bytes& bytes, size_t offset, uint32_t value) {
  Put16(bytes, offset, static_cast<uint16_t>(value));
  Put16(bytes, offset + 2, static_cast<uint16_t>(value >> 16));
}

// A reply with MIGRATION at 0x18, IOVA_RANGE with two ranges at 0x38 and NESTING at 0x68.
Bytes SeriesReply() {
  return FromHex(R"(
      a0 00 00 00 03 00 00 00 00 f0 ff ff ff ff ff ff
      18 00 00 00 00 00 00 00 02 00 01 00 38 00 00 00
      00 00 00 00 00 00 00 00 00 10 00 00 00 00 00 00
      00 00 00 10 00 00 00 00 01 00 01 00 68 00 00 00
      02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      ff ff df fe 00 00 00 00 00 00 f0 fe 00 00 00 00
      ff ff ff ff ff ff 00 00 03 00 01 00 00 00 00 00
      30 00 00 00 00 00 00 00 01 00 00 00 07 00 00 00
      30 00 14 00 00 00 00 00 00 00 00 00 00 00 00 00
      00 00 00 00 00 00 00 11 00 00 00 e0 04 01 00 00)");
}

constexpr size_t kNesting = 0x68;       // its header in SeriesReply
constexpr size_t kInfo = kNesting + 8;  // struct iommu_nesting_info

// The head of a reply, with `capabilities` behind it.
Bytes Reply(const Bytes& capabilities) {
  Bytes reply(24);
  Put32(reply, 4, 2);  // VFIO_IOMMU_INFO_CAPS
  Put32(reply, 16, 24);
  reply.insert(reply.end(), capabilities.begin(), capabilities.end());
  Put32(reply, 0, static_cast<uint32_t>(reply.size()));
  return reply;
}

void ExpectNone(const Bytes& reply) {
  const absl::Status status = ParseNestingCapability(reply).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

void ExpectBroken(const Bytes& reply) {
  const absl::Status status = ParseNestingCapability(reply).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST(ParseNestingCapabilityTest, SeriesReplyIsRead) {
  const absl::StatusOr<NestingCapability> capability = ParseNestingCapability(SeriesReply());
  ASSERT_TRUE(capability.ok()) << capability.status();
  EXPECT_THAT(*capability, Eq(NestingCapability{.format = 1,
                                                .features = 7,
                                                .address_width = 48,
                                                .pasid_bits = 20,
                                                .capability_register = 0x1100'0000'0000'0000,
                                                .extended_capability_register = 0x104'e000'0000}));
}

TEST(ParseNestingCapabilityTest, MainlineDmaAvailAloneIsNotNesting) {
  ExpectNone(Reply(FromHex("03 00 01 00 00 00 00 00 ff ff 00 00")));
}

// The count of free mappings stands where nesting has its size. With few mappings left it is
// a plausible size, and another capability behind gives it room.
TEST(ParseNestingCapabilityTest, MainlineDmaAvailOfAnyCountIsNotNesting) {
  for (const uint32_t available : {0U, 23U, 24U, 32U, 48U, 56U, 65535U, 0xffff'ffffU}) {
    Bytes chain = FromHex(R"(03 00 01 00 28 00 00 00 00 00 00 00 00 00 00 00
                             01 00 01 00 00 00 00 00 02 00 00 00 00 00 00 00
                             00 00 00 00 00 00 00 00 ff ff df fe 00 00 00 00
                             00 00 f0 fe 00 00 00 00 ff ff ff ff ff ff 00 00)");
    Put32(chain, 8, available);
    ExpectNone(Reply(chain));
  }
}

TEST(ParseNestingCapabilityTest, NestingBehindDmaAvailIsFound) {
  Bytes chain = FromHex("03 00 01 00 28 00 00 00 ff ff 00 00 00 00 00 00");
  const Bytes series = SeriesReply();
  chain.insert(chain.end(), series.begin() + kNesting, series.end());
  EXPECT_TRUE(ParseNestingCapability(Reply(chain)).ok());
}

TEST(ParseNestingCapabilityTest, ReplyWithoutCapabilitiesHasNone) {
  Bytes reply = SeriesReply();
  Put32(reply, 4, 1);  // PGSIZES, not CAPS
  ExpectNone(reply);
  reply = SeriesReply();
  Put32(reply, 16, 0);  // cap_offset
  ExpectNone(reply);
}

TEST(ParseNestingCapabilityTest, OtherVersionIsNotNesting) {
  Bytes reply = SeriesReply();
  Put16(reply, kNesting + 2, 2);
  ExpectNone(reply);
}

TEST(ParseNestingCapabilityTest, BodyThatIsNoNestingInfoIsRefused) {
  struct Case {
    const char* what;
    size_t offset;
    uint32_t value;
  };
  for (const Case& broken :
       {Case{"size under the minimum", kInfo, 23}, Case{"size beyond the reply", kInfo, 49},
        Case{"size without the VT-d part", kInfo, 24}, Case{"flags", kInfo + 4, 1},
        Case{"no format", kInfo + 8, 0}}) {
    SCOPED_TRACE(broken.what);
    Bytes reply = SeriesReply();
    Put32(reply, broken.offset, broken.value);
    ExpectNone(reply);
  }
}

TEST(ParseNestingCapabilityTest, OtherFormatNeedsNoVtdPart) {
  Bytes reply = SeriesReply();
  Put32(reply, kInfo, 24);
  Put32(reply, kInfo + 8, 2);
  const absl::StatusOr<NestingCapability> capability = ParseNestingCapability(reply);
  ASSERT_TRUE(capability.ok()) << capability.status();
  EXPECT_THAT(capability->format, Eq(2U));
  EXPECT_THAT(capability->capability_register, Eq(0U));
}

TEST(ParseNestingCapabilityTest, ChainThatGoesBackIsBroken) {
  for (const uint32_t next : {0x68U, 0x38U, 0x18U, 0x08U, 0x01U}) {
    Bytes reply = SeriesReply();
    Put16(reply, kNesting, 9);  // no nesting, so that the walk goes on
    Put32(reply, kNesting + 4, next);
    ExpectBroken(reply);
  }
}

TEST(ParseNestingCapabilityTest, CapabilityInsideAHeaderIsBroken) {
  Bytes reply = SeriesReply();
  Put32(reply, 0x18 + 4, 0x18 + 7);
  ExpectBroken(reply);
}

TEST(ParseNestingCapabilityTest, NestingThatReachesIntoTheNextCapabilityIsRefused) {
  Bytes reply = SeriesReply();
  const size_t next = kNesting + 40;
  Put32(reply, kNesting + 4, next);
  Put32(reply, next, 0x0001'0001);  // IOVA_RANGE, version 1
  Put32(reply, next + 4, 0);
  ExpectNone(reply);
}

TEST(ParseNestingCapabilityTest, ChainThatLeavesTheReplyIsBroken) {
  for (const uint32_t offset : {0x99U, 0xa0U, 0xa1U, 0xffff'ffffU}) {
    Bytes reply = SeriesReply();
    Put32(reply, 16, offset);
    ExpectBroken(reply);
    reply = SeriesReply();
    Put32(reply, 0x18 + 4, offset);
    ExpectBroken(reply);
  }
}

TEST(ParseNestingCapabilityTest, ChainInsideTheHeadIsBroken) {
  Bytes reply = SeriesReply();
  Put32(reply, 16, 8);
  ExpectBroken(reply);
}

TEST(ParseNestingCapabilityTest, EveryTruncationIsRefused) {
  const Bytes reply = SeriesReply();
  for (size_t size = 0; size < reply.size(); ++size) {
    const Bytes truncated(reply.begin(), reply.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(ParseNestingCapability(truncated).ok()) << size;
  }
}

TEST(ParseNestingCapabilityTest, BytesBeyondArgszAreNotRead) {
  Bytes reply = SeriesReply();
  Put32(reply, 0, static_cast<uint32_t>(reply.size() - 1));
  EXPECT_FALSE(ParseNestingCapability(reply).ok());
}

// What it finds in damaged replies does not matter; the sanitizers see what it reads.
TEST(ParseNestingCapabilityTest, DamagedRepliesAreWalkedWithinBounds) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    Bytes reply = SeriesReply();
    for (int flips = 0; flips < 4; ++flips) {
      reply[random() % reply.size()] = static_cast<uint8_t>(random() % 4 == 0 ? random() : 0x20);
    }
    reply.resize(random() % (reply.size() + 1));
    const absl::StatusOr<NestingCapability> capability = ParseNestingCapability(reply);
    EXPECT_TRUE(!capability.ok() || capability->format != 0);
  }
}

}  // namespace
}  // namespace nestor::agent
