#include "server/store/store.h"

#include <gtest/gtest.h>

namespace nestor::server {
namespace {

TEST(PrefixEnd, IsTheFirstKeyAfterThePrefix) {
  EXPECT_EQ(PrefixEnd("v/a/"), "v/a0");
  EXPECT_EQ(PrefixEnd("a\xff"), "b");
  EXPECT_EQ(PrefixEnd(std::string("\0", 1)), "\x01");
}

TEST(PrefixEnd, IsEmptyWhereNothingFollows) {
  EXPECT_EQ(PrefixEnd("\xff\xff"), "");
  EXPECT_EQ(PrefixEnd(""), "");
}

}  // namespace
}  // namespace nestor::server
