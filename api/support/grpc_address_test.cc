#include "api/support/grpc_address.h"

#include <gtest/gtest.h>

namespace nestor {
namespace {

TEST(IsLocalAddress, LoopbackAndUnixOnly) {
  for (const char* local : {"unix:/run/x.sock", "unix-abstract:x", "127.0.0.1:1", "127.9.0.1:1",
                            "localhost:7440", "[::1]:7440"}) {
    EXPECT_TRUE(IsLocalAddress(local)) << local;
  }
  for (const char* remote : {"0.0.0.0:1", "10.0.0.1:1", "127.0.0.1.example:1", "example:1",
                             "127.0.0.1", "", "[::]:1", "dns:///127.0.0.1:1"}) {
    EXPECT_FALSE(IsLocalAddress(remote)) << remote;
  }
}

TEST(CheckPlaintext, NeedsBothTheFlagAndALocalAddress) {
  EXPECT_TRUE(CheckPlaintext("127.0.0.1:1", true).ok());
  EXPECT_FALSE(CheckPlaintext("127.0.0.1:1", false).ok());
  EXPECT_FALSE(CheckPlaintext("10.0.0.1:1", true).ok());
}

}  // namespace
}  // namespace nestor
