#include "agent/vmm/vmm_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

constexpr char kVm[] = "projects/p/virtualMachines/v";
constexpr char kDevice[] = "0000:01:00.0";

class VmmSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "vmm_socket.XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST(VmmSocketPathTest, NamesProjectMachineAndDevice) {
  EXPECT_EQ(VmmSocketPath("/run/nestor/vmm", kVm, kDevice).value(),
            "/run/nestor/vmm/p.v/0000:01:00.0.sock");
}

TEST(VmmSocketPathTest, NamesThatCouldLeaveTheDirectoryAreRefused) {
  for (const std::string vm : {"projects/../virtualMachines/v", "projects/p/virtualMachines/..",
                               "projects/p/virtualMachines/v/../../x", "", "v"}) {
    EXPECT_EQ(VmmSocketPath("/run", vm, kDevice).status().code(),
              absl::StatusCode::kInvalidArgument)
        << vm;
  }
  for (const std::string device : {"", "..", "../0000:01:00.0", "01:00.0"}) {
    EXPECT_EQ(VmmSocketPath("/run", kVm, device).status().code(),
              absl::StatusCode::kInvalidArgument)
        << device;
  }
}

TEST(VmmSocketPathTest, PathTooLongForASocketIsRefused) {
  EXPECT_TRUE(VmmSocketPath("/" + std::string(80, 'd'), kVm, kDevice).ok());
  EXPECT_EQ(VmmSocketPath("/" + std::string(81, 'd'), kVm, kDevice).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(VmmSocketTest, MachinesDirectoryIsTheOwnersAlone) {
  const std::string path = *VmmSocketPath((directory_ / "vmm").string(), kVm, kDevice);
  ASSERT_TRUE(ListenAt(path, SOCK_STREAM).ok());
  struct stat made;
  ASSERT_EQ(stat((directory_ / "vmm" / "p.v").c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777, 0700u);
}

TEST_F(VmmSocketTest, WhatADeadProcessLeftIsReplaced) {
  const std::string path = *VmmSocketPath(directory_.string(), kVm, kDevice);
  ASSERT_TRUE(ListenAt(path, SOCK_STREAM).ok());  // and closed at once
  ASSERT_TRUE(std::filesystem::is_socket(path));
  EXPECT_TRUE(ListenAt(path, SOCK_STREAM).ok());
}

TEST_F(VmmSocketTest, DirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(directory_ / "file") << "in the way";
  const auto listener =
      ListenAt(*VmmSocketPath((directory_ / "file").string(), kVm, kDevice), SOCK_STREAM);
  EXPECT_FALSE(listener.ok());
  EXPECT_NE(listener.status().message().find((directory_ / "file").string()), std::string::npos);
}

TEST_F(VmmSocketTest, RemovedSocketTakesItsEmptyDirectoryAlong) {
  const std::string first = *VmmSocketPath(directory_.string(), kVm, kDevice);
  const std::string second = *VmmSocketPath(directory_.string(), kVm, "0000:02:00.0");
  ASSERT_TRUE(ListenAt(first, SOCK_STREAM).ok() && ListenAt(second, SOCK_STREAM).ok());
  RemoveSocket(first);
  EXPECT_FALSE(std::filesystem::exists(first));
  EXPECT_TRUE(std::filesystem::exists(second));
  RemoveSocket(second);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

}  // namespace
}  // namespace nestor::agent
