#include "agent/vmm/interrupt_table.h"

#include <sys/eventfd.h>

#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using vfio_user::SetIrqs;

constexpr uint32_t kMsix = 2;
constexpr uint32_t kAssign = vfio_user::kIrqDataEventfd | vfio_user::kIrqActionTrigger;
constexpr uint32_t kDisable = vfio_user::kIrqDataNone | vfio_user::kIrqActionTrigger;

std::vector<FileDescriptor> Eventfds(int count) {
  std::vector<FileDescriptor> eventfds;
  eventfds.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) eventfds.emplace_back(eventfd(0, EFD_CLOEXEC));
  return eventfds;
}

SetIrqs Request(uint32_t flags, uint32_t index, uint32_t start, uint32_t count) {
  return {.flags = flags, .index = index, .start = start, .count = count};
}

TEST(InterruptTableTest, AssignedVectorsAreKept) {
  InterruptTable table;
  EXPECT_TRUE(table.Set(Request(kAssign, kMsix, 0, 4), "", Eventfds(4)).ok());
  EXPECT_TRUE(table.Set(Request(kAssign, 0, 0, 1), "", Eventfds(1)).ok());
  EXPECT_EQ(table.size(), 5u);
}

TEST(InterruptTableTest, AssignedAgainReplaces) {
  InterruptTable table;
  EXPECT_TRUE(table.Set(Request(kAssign, kMsix, 0, 4), "", Eventfds(4)).ok());
  EXPECT_TRUE(table.Set(Request(kAssign, kMsix, 3, 2), "", Eventfds(2)).ok());
  EXPECT_EQ(table.size(), 5u);
}

TEST(InterruptTableTest, NoDescriptorsDeassign) {
  InterruptTable table;
  EXPECT_TRUE(table.Set(Request(kAssign, kMsix, 0, 4), "", Eventfds(4)).ok());
  EXPECT_TRUE(table.Set(Request(kAssign, kMsix, 1, 2), "", {}).ok());
  EXPECT_EQ(table.size(), 2u);
}

TEST(InterruptTableTest, DisablingEmptiesThatIndexOnly) {
  InterruptTable table;
  EXPECT_TRUE(table.Set(Request(kAssign, kMsix, 0, 4), "", Eventfds(4)).ok());
  EXPECT_TRUE(table.Set(Request(kAssign, 0, 0, 1), "", Eventfds(1)).ok());
  EXPECT_TRUE(table.Set(Request(kDisable, kMsix, 0, 0), "", {}).ok());
  EXPECT_EQ(table.size(), 1u);
}

TEST(InterruptTableTest, MaskingIsAccepted) {
  InterruptTable table;
  EXPECT_TRUE(
      table.Set(Request(vfio_user::kIrqDataNone | vfio_user::kIrqActionUnmask, 0, 0, 1), "", {})
          .ok());
}

TEST(InterruptTableTest, SignallingIsNotOffered) {
  InterruptTable table;
  EXPECT_EQ(table.Set(Request(kDisable, kMsix, 0, 1), "", {}).code(),
            absl::StatusCode::kUnimplemented);
}

struct BadRequest {
  SetIrqs request;
  std::string data;
  int eventfds = 0;
};

class InterruptTableBadRequestTest : public testing::TestWithParam<BadRequest> {};

TEST_P(InterruptTableBadRequestTest, IsRefusedAndKeepsNothing) {
  InterruptTable table;
  const auto& [request, data, eventfds] = GetParam();
  EXPECT_EQ(table.Set(request, data, Eventfds(eventfds)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    All, InterruptTableBadRequestTest,
    testing::Values(BadRequest{Request(kAssign, 5, 0, 1), "", 1},            // no such index
                    BadRequest{Request(kAssign, kMsix, 2048, 1), "", 1},     // no such vector
                    BadRequest{Request(kAssign, kMsix, 1, 0xffffffff), ""},  // wraps
                    BadRequest{Request(kAssign, kMsix, 0, 2), "", 1},        // one is missing
                    BadRequest{Request(kAssign, kMsix, 0, 1), "", 2},        // one too many
                    BadRequest{Request(kDisable, kMsix, 0, 1), "", 1},       // not asked for
                    BadRequest{Request(kAssign, kMsix, 0, 1), "x", 1},       // data not asked for
                    BadRequest{Request(vfio_user::kIrqDataBool | vfio_user::kIrqActionTrigger,
                                       kMsix, 0, 2),
                               "x"},  // data is short
                    BadRequest{Request(vfio_user::kIrqActionTrigger, kMsix, 0, 1), ""},
                    BadRequest{Request(vfio_user::kIrqDataNone, kMsix, 0, 1), ""},
                    BadRequest{Request(kAssign | vfio_user::kIrqDataNone, kMsix, 0, 1), ""},
                    BadRequest{Request(kAssign | 64, kMsix, 0, 1), ""}));

}  // namespace
}  // namespace nestor::agent
