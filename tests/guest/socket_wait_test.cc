#include "tests/guest/socket_wait.h"

#include <filesystem>
#include <fstream>
#include <future>

#include "gtest/gtest.h"

namespace nestor::guest {
namespace {

class WaitForPathTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "socket_wait.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(WaitForPathTest, WhatExistsIsThereAtOnce) {
  EXPECT_TRUE(WaitForPath(directory_.string(), absl::ZeroDuration()).ok());
}

TEST_F(WaitForPathTest, WhatIsMadeLaterWithItsDirectoriesIsSeen) {
  const auto path = directory_ / "a" / "b" / "device.sock";
  auto waiting =
      std::async(std::launch::async, [&] { return WaitForPath(path.string(), absl::Seconds(30)); });
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(directory_ / "unfinished") << "";
  std::filesystem::rename(directory_ / "unfinished", path);
  EXPECT_TRUE(waiting.get().ok());
}

TEST_F(WaitForPathTest, DeadlineIsKept) {
  EXPECT_EQ(WaitForPath((directory_ / "never").string(), absl::Milliseconds(20)).code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(WaitForPathTest, FileInTheWayIsAnError) {
  std::ofstream(directory_ / "file") << "";
  const auto status = WaitForPath((directory_ / "file" / "x").string(), absl::Seconds(30));
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace nestor::guest
