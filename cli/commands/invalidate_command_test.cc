#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/support/errors.h"
#include "cli/commands/fake_server.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class InvalidateCommandTest : public FakeServerTest {};

TEST_F(InvalidateCommandTest, WholeBindingIsDroppedWithoutARange) {
  EXPECT_EQ(Run({"invalidate", "web-1/sva-3"}), ExitCode::kOk);
  ASSERT_THAT(fake_.bindings.invalidated, SizeIs(1));
  EXPECT_EQ(fake_.bindings.invalidated[0].name(), std::string(kMachine) + "/pasidBindings/sva-3");
  EXPECT_FALSE(fake_.bindings.invalidated[0].has_range());
  EXPECT_EQ(out_.str(), "binding demo/web-1/sva-3: dropped all\n");
}

TEST_F(InvalidateCommandTest, RangeIsSentAsTyped) {
  EXPECT_EQ(Run({"invalidate", "web-1/sva-3", "--address", "0x7f0000000000", "--size", "8192"}),
            ExitCode::kOk);
  ASSERT_THAT(fake_.bindings.invalidated, SizeIs(1));
  EXPECT_EQ(fake_.bindings.invalidated[0].range().address(), 0x7f00'0000'0000u);
  EXPECT_EQ(fake_.bindings.invalidated[0].range().size(), 8192u);
  EXPECT_EQ(out_.str(), "binding demo/web-1/sva-3: dropped 8192 bytes at 0x7f0000000000\n");
}

TEST_F(InvalidateCommandTest, HalfARangeAndNonsenseAreUsageErrors) {
  EXPECT_EQ(Run({"invalidate", "web-1/sva-3", "--size", "4096"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"invalidate", "web-1/sva-3", "--address", "here", "--size", "1"}),
            ExitCode::kUsage);
  EXPECT_EQ(Run({"invalidate", "web-1"}), ExitCode::kUsage);
  EXPECT_THAT(fake_.bindings.invalidated, IsEmpty());
}

TEST_F(InvalidateCommandTest, RefusalSaysWhyAndWhatToDo) {
  v1::Failure failure;
  failure.set_reason("NOT_PROGRAMMED");
  failure.set_message("nothing is bound to PASID 3 of 0000:01:00.0");
  fake_.bindings.invalidate_error = errors::InvalidationFailed("b", failure);
  EXPECT_EQ(Run({"invalidate", "web-1/sva-3"}), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("nothing is bound to PASID 3"));
  EXPECT_THAT(err_.str(), HasSubstr("nestorctl explain b"));
}

}  // namespace
}  // namespace nestor::cli
