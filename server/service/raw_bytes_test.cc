// Requests that are no messages, or no message that a server should hold.

#include <gtest/gtest.h>

#include "server/service/service_fixture.h"

namespace nestor::server {
namespace {

// One protobuf field on the wire.
std::string LengthDelimited(int field, const std::string& bytes) {
  std::string wire;
  wire.push_back(static_cast<char>(field << 3 | 2));
  for (size_t length = bytes.size();; length >>= 7) {
    if (length < 0x80) {
      wire.push_back(static_cast<char>(length));
      break;
    }
    wire.push_back(static_cast<char>(length | 0x80));
  }
  return wire + bytes;
}

class RawBytesTest : public ServiceTest {
 protected:
  void SetUp() override { CreateHost(); }

  // Nothing was written, and the server goes on.
  void ExpectNothingHappened() {
    EXPECT_EQ(server_.head(), 1);
    v1::GetHostRequest request;
    request.set_name(kHost);
    Must(Call(server_.hosts(), &Hosts::GetHost, request));
  }
};

TEST_F(RawBytesTest, InvalidUtf8IsRefused) {
  // gRPC's own code has no place for details of a message that does not parse.
  const std::string name = LengthDelimited(1, "hosts/\xff\xfe");
  EXPECT_FALSE(server_.CallRaw("nestor.v1.HostService/GetHost", name).ok());
  EXPECT_FALSE(server_.CallRaw("nestor.v1.HostService/CreateHost", LengthDelimited(1, name)).ok());
  ExpectNothingHappened();
}

TEST_F(RawBytesTest, BytesThatAreNoMessageAreRefused) {
  for (const std::string& bytes : {std::string("\x0a\xff\xff\xff\xff\x0f", 6),
                                   std::string(1000, '\xff'), std::string("\x0a\x05hos", 5)}) {
    EXPECT_FALSE(server_.CallRaw("nestor.v1.HostService/CreateHost", bytes).ok());
    EXPECT_FALSE(server_.CallRaw("nestor.v1.WatchService/Watch", bytes).ok());
  }
  ExpectNothingHappened();
}

TEST_F(RawBytesTest, DeepNestingInUnknownFieldsIsRefused) {
  // Groups of an unknown field, deeper than any parser should follow.
  std::string deep(100'000, '\x7b');
  deep += std::string(100'000, '\x7c');
  EXPECT_FALSE(server_.CallRaw("nestor.v1.HostService/CreateHost", deep).ok());
  ExpectNothingHappened();
}

TEST_F(RawBytesTest, MessageAboveFourMebibytesIsRefused) {
  const std::string name = std::string((4 << 20) + 1, 'a');
  const absl::Status status =
      server_.CallRaw("nestor.v1.HostService/GetHost", LengthDelimited(1, name));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  ExpectNothingHappened();
}

TEST_F(RawBytesTest, UnknownMethodIsUnimplemented) {
  EXPECT_EQ(server_.CallRaw("nestor.v1.HostService/Destroy", "").code(),
            absl::StatusCode::kUnimplemented);
  ExpectNothingHappened();
}

}  // namespace
}  // namespace nestor::server
