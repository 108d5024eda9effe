#include "server/store/row_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace nestor::server {
namespace {

using ::testing::Eq;
using ::testing::Optional;

constexpr absl::string_view kIdentity = "0d2a9ba5-4a55-4bd2-93a5-a48c60f4a4a7";

TEST(RowFormat, LayoutIsTheDocumentedOne) {
  // The checksum is the CRC-32 of zip and PNG, here as Python's zlib.crc32 gives it.
  EXPECT_EQ(EncodeRow("kkey", 0x0102, "value"),
            std::string("\x02\x01\0\0\0\0\0\0", 8) + "\xf3\xf5\x36\x79" + "value");
}

TEST(RowFormat, RowComesBack) {
  const std::string bytes = EncodeRow("kkey", 1'000'000'007, "value");
  const auto row = DecodeRow("kkey", bytes);
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->revision, 1'000'000'007);
  EXPECT_EQ(row->value, "value");
  EXPECT_EQ(row->checksum, EncodedChecksum(bytes));
}

TEST(RowFormat, AnyFlippedBitIsNoticed) {
  const std::string bytes = EncodeRow("kkey", 7, "value");
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_FALSE(DecodeRow("kkey", damaged).has_value()) << "bit " << bit;
  }
}

TEST(RowFormat, ShortRowAndRowOfAnotherKeyAreRefused) {
  const std::string bytes = EncodeRow("kkey", 7, "");
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeRow("kkey", bytes.substr(0, size)).has_value());
  }
  EXPECT_FALSE(DecodeRow("kkez", bytes).has_value());
}

TEST(RowFormat, HeadComesBack) {
  const StoreHead head{42, 3, 0xfedcba9876543210};
  const auto row = DecodeRow(kHeadKey, EncodeHead(head));
  ASSERT_TRUE(row.has_value());
  EXPECT_THAT(DecodeHead(*row), Optional(head));
  EXPECT_THAT(DecodeHead({42, 0, "short"}), Eq(std::nullopt));
}

std::string Mark(int64_t synced) { return EncodeLogMark(kIdentity, {synced, 800, 900}); }

TEST(LogMark, MarkComesBack) {
  const LogMark mark{3, 5, 8};
  EXPECT_THAT(DecodeLogMark(kIdentity, EncodeLogMark(kIdentity, mark)), Optional(mark));
}

TEST(LogMark, DamagedShortAndForeignOnesAreNone) {
  const std::string mark = Mark(700);
  for (size_t at = 0; at < mark.size(); ++at) {
    std::string damaged = mark;
    damaged[at] ^= 1;
    EXPECT_THAT(DecodeLogMark(kIdentity, damaged), Eq(std::nullopt));
    EXPECT_THAT(DecodeLogMark(kIdentity, mark.substr(0, at)), Eq(std::nullopt));
  }
  EXPECT_THAT(DecodeLogMark("dd2a9ba5-4a55-4bd2-93a5-a48c60f4a4a7", mark), Eq(std::nullopt));
}

TEST(LogMark, HighestSyncedRevisionIsFoundAmongOtherBytes) {
  std::string damaged = Mark(1000);
  damaged[kIdentity.size()] ^= 1;
  const std::string log =
      absl::StrCat("x", Mark(3), kIdentity, Mark(700), "junk", damaged, Mark(5), kIdentity);
  EXPECT_THAT(HighestSyncedRevision(kIdentity, log), Optional(700));
}

TEST(LogMark, RevisionZeroIsAMarkAndNoMarkIsNone) {
  EXPECT_THAT(HighestSyncedRevision(kIdentity, Mark(0)), Optional(0));
  EXPECT_THAT(HighestSyncedRevision(kIdentity, "no mark"), Eq(std::nullopt));
}

}  // namespace
}  // namespace nestor::server
