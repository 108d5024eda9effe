#include "tests/guest/guest_memory.h"

#include <unistd.h>

#include "gtest/gtest.h"

namespace nestor::guest {
namespace {

TEST(GuestMemoryTest, WhatIsWrittenStandsInTheMemfd) {
  auto memory = GuestMemory::Create(0x4000).value();
  ASSERT_TRUE(memory.Write(0x1ffe, "text").ok());
  char bytes[4];
  ASSERT_EQ(pread(memory.fd(), bytes, sizeof(bytes), 0x1ffe), 4);
  EXPECT_EQ(std::string(bytes, 4), "text");
  EXPECT_EQ(memory.Read(0x1ffe, 4).value(), "text");
}

TEST(GuestMemoryTest, EntriesAreLittleEndian) {
  auto memory = GuestMemory::Create(0x1000).value();
  ASSERT_TRUE(memory.WriteEntry(8, 0x0102).ok());
  EXPECT_EQ(memory.Read(8, 3).value(), std::string("\x02\x01\x00", 3));
  EXPECT_EQ(memory.ReadEntry(8).value(), 0x0102u);
}

TEST(GuestMemoryTest, BeyondRamIsOutOfRange) {
  auto memory = GuestMemory::Create(0x1000).value();
  EXPECT_TRUE(memory.Write(0xffc, "text").ok());
  EXPECT_EQ(memory.Write(0xffd, "text").code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(memory.Read(~uint64_t{0}, 2).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(memory.ReadEntry(0x1000).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(GuestMemoryTest, SizeIsWholePages) {
  EXPECT_EQ(GuestMemory::Create(0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GuestMemory::Create(0x1001).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nestor::guest
