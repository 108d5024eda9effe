#include "agent/vmm/vfio_user_protocol.h"

#include <cerrno>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent::vfio_user {
namespace {

using ::testing::HasSubstr;

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string HeaderBytes(uint32_t size, uint32_t flags = 0) {
  return EncodePayload(Header{.message_id = 7, .command = 2, .size = size, .flags = flags});
}

TEST(HeaderTest, FieldsStandWhereTheProtocolSays) {
  const auto header = DecodeHeader(Bytes({0x34, 0x12,        // message id
                                          0x09, 0x00,        // command
                                          0x20, 0, 0, 0,     // size
                                          0x10, 0, 0, 0,     // flags
                                          0x16, 0, 0, 0}));  // error
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->message_id, 0x1234);
  EXPECT_EQ(header->command, static_cast<uint16_t>(Command::kRegionRead));
  EXPECT_EQ(header->size, 32u);
  EXPECT_EQ(header->flags, kNoReply);
  EXPECT_EQ(header->error, 22u);
}

TEST(HeaderTest, SmallerThanItselfIsRefused) {
  EXPECT_EQ(DecodeHeader(HeaderBytes(15)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(DecodeHeader(HeaderBytes(16)).ok());
}

TEST(HeaderTest, LargerThanTheLargestMessageIsRefused) {
  EXPECT_TRUE(DecodeHeader(HeaderBytes(kMaxMessageSize)).ok());
  EXPECT_EQ(DecodeHeader(HeaderBytes(kMaxMessageSize + 1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(DecodeHeader(HeaderBytes(0xffffffff)).ok());
}

TEST(HeaderTest, UnknownTypeIsRefused) {
  EXPECT_TRUE(DecodeHeader(HeaderBytes(16, kTypeReply)).ok());
  EXPECT_FALSE(DecodeHeader(HeaderBytes(16, 2)).ok());
}

TEST(HeaderTest, CutShortIsRefused) { EXPECT_FALSE(DecodeHeader(HeaderBytes(16).substr(1)).ok()); }

TEST(PayloadTest, DmaMapFieldsStandWhereTheProtocolSays) {
  const DmaMap map{
      .argsz = 32, .flags = 3, .offset = 0x1000, .address = 0x1'0000'0000, .size = 0x20'0000};
  EXPECT_EQ(EncodePayload(map), Bytes({32, 0, 0, 0, 3,    0, 0, 0, 0, 0x10, 0,    0, 0, 0, 0, 0,
                                       0,  0, 0, 0, 0x01, 0, 0, 0, 0, 0,    0x20, 0, 0, 0, 0, 0}));
}

TEST(PayloadTest, SetIrqsFieldsStandWhereTheProtocolSays) {
  EXPECT_EQ(EncodePayload(SetIrqs{.argsz = 20, .flags = 0x24, .index = 2, .start = 1, .count = 4}),
            Bytes({20, 0, 0, 0, 0x24, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0}));
}

TEST(PayloadTest, TooShortIsRefusedAndLongerIsRead) {
  const std::string bytes = EncodePayload(DmaUnmap{.address = 0x5000});
  EXPECT_EQ(DecodePayload<DmaUnmap>(absl::string_view(bytes).substr(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DecodePayload<DmaUnmap>(bytes + "more")->address, 0x5000u);
}

TEST(ReplyTest, EchoesIdAndCommandAndCarriesItsSize) {
  const Header request{.message_id = 77, .command = 9, .size = 32};
  const std::string reply = EncodeReply(request, "data");
  const auto header = DecodeHeader(reply);
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->message_id, 77);
  EXPECT_EQ(header->command, 9);
  EXPECT_EQ(header->size, reply.size());
  EXPECT_EQ(header->flags, kTypeReply);
  EXPECT_EQ(reply.substr(sizeof(Header)), "data");
}

TEST(ReplyTest, ErrorIsABareHeader) {
  const std::string reply = EncodeErrorReply({.message_id = 5, .command = 2, .size = 48}, EEXIST);
  ASSERT_EQ(reply.size(), sizeof(Header));
  const auto header = DecodeHeader(reply);
  EXPECT_EQ(header->flags, 0x21u);
  EXPECT_EQ(header->error, static_cast<uint32_t>(EEXIST));
}

// What QEMU 11.1 sends.
std::string QemuVersion() {
  return Bytes({0, 0, 0, 0}) +
         R"({"capabilities": {"max_msg_fds": 16, "max_data_xfer_size": 1048576, )"
         R"("pgsizes": 4096, "max_dma_maps": 65535, "write_multiple": true, )"
         R"("migration": {"pgsize": 4096, "max_bitmap_size": 268435456}}})" +
         std::string(1, '\0');
}

TEST(VersionTest, QemusProposalIsUnderstood) {
  const auto version = DecodeVersion(QemuVersion());
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(version->minor, 0);
  EXPECT_EQ(version->max_msg_fds, 16u);
}

TEST(VersionTest, AbsentJsonMeansTheDefaults) {
  EXPECT_EQ(DecodeVersion(Bytes({0, 0, 1, 0})).value(), (Version{.major = 0, .minor = 1}));
  EXPECT_EQ(DecodeVersion(Bytes({0, 0, 1, 0, 0})).value(), (Version{.major = 0, .minor = 1}));
}

TEST(VersionTest, CapabilitiesOfOtherTypesAreIgnored) {
  const auto version = DecodeVersion(
      Bytes({0, 0, 0, 0}) +
      R"({"capabilities": {"max_msg_fds": "many", "pgsizes": -1, "max_dma_maps": {}}})" +
      std::string(1, '\0'));
  EXPECT_EQ(version.value(), Version());
}

TEST(VersionTest, CapabilitiesThatAreNoObjectAreIgnored) {
  for (const std::string json : {"{}", R"({"capabilities": 3})", R"({"capabilities": []})"}) {
    EXPECT_EQ(DecodeVersion(Bytes({0, 0, 0, 0}) + json + std::string(1, '\0')).value(), Version())
        << json;
  }
}

TEST(VersionTest, BrokenJsonIsRefused) {
  for (const std::string json : {"{", "[]", "null", "\xff", "{\"capabilities\":"}) {
    EXPECT_EQ(DecodeVersion(Bytes({0, 0, 0, 0}) + json + std::string(1, '\0')).status().code(),
              absl::StatusCode::kInvalidArgument)
        << json;
  }
  EXPECT_FALSE(DecodeVersion(Bytes({0, 0, 0, 0}) + "{}").ok()) << "no NUL";
  EXPECT_FALSE(DecodeVersion(Bytes({0, 0, 0})).ok()) << "too short";
}

TEST(VersionTest, DeepJsonIsRefusedWithoutOverflowingTheStack) {
  const std::string deep(500'000, '[');
  EXPECT_FALSE(DecodeVersion(Bytes({0, 0, 0, 0}) + deep + std::string(1, '\0')).ok());
}

TEST(VersionTest, AnswerOffersNothingUnaskedAndNoWriteMultiple) {
  const auto answer = Negotiate(*DecodeVersion(QemuVersion()));
  ASSERT_TRUE(answer.ok()) << answer.status();
  const std::string payload = EncodeVersion(*answer);
  EXPECT_THAT(payload, HasSubstr("\"max_msg_fds\":16"));
  EXPECT_THAT(payload, HasSubstr("\"max_data_xfer_size\":1048576"));
  EXPECT_THAT(payload, HasSubstr("\"pgsizes\":4096"));
  EXPECT_THAT(payload, Not(HasSubstr("write_multiple")));
  EXPECT_EQ(payload.back(), '\0');
  EXPECT_EQ(DecodeVersion(payload).value(), *answer);
}

TEST(VersionTest, AnswerIsNeverAboveTheProposal) {
  const auto answer =
      Negotiate({.minor = 9, .max_msg_fds = 1, .max_data_xfer_size = 8192, .max_dma_maps = 3});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer,
            (Version{.minor = 1, .max_msg_fds = 1, .max_data_xfer_size = 8192, .max_dma_maps = 3}));
}

TEST(VersionTest, AnotherMajorVersionIsRefused) {
  EXPECT_EQ(Negotiate({.major = 1}).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(VersionTest, TransfersTooSmallForConfigurationSpaceAreRefused) {
  EXPECT_EQ(Negotiate({.max_data_xfer_size = 4095}).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace nestor::agent::vfio_user
