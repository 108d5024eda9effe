// Directories that a store cannot or must not use, and what it says of them.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "api/support/errors.h"
#include "server/store/row_format.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RocksDbDirectory : public ::testing::Test {
 protected:
  absl::Status Open(const std::string& path) {
    return RocksDbStore::Open(path, SmallStoreOptions(), clock_).status();
  }
  void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& path,
                     const std::string& remedy) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr(remedy)));
  }

  SystemClock clock_;
  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/store";
};

// Does things as another user; only root can.
class AsNobody {
 public:
  AsNobody() { EXPECT_EQ(seteuid(65534), 0); }
  ~AsNobody() { EXPECT_EQ(seteuid(0), 0); }
};

TEST_F(RocksDbDirectory, MissingOneIsCreatedForItsUserAlone) {
  EXPECT_TRUE(Open(path_).ok());
  EXPECT_EQ(std::filesystem::status(path_).permissions(), std::filesystem::perms::owner_all);
}

// RocksDB's own log asserts when it cannot be written.
TEST_F(RocksDbDirectory, HoldsNoLogThatAFullDiskWouldEndTheProgramBy) {
  EXPECT_TRUE(Open(path_).ok());
  EXPECT_FALSE(std::filesystem::exists(path_ + "/LOG"));
}

TEST_F(RocksDbDirectory, EmptyOneIsUsed) { EXPECT_TRUE(Open(directory_.path() + "/").ok()); }

TEST_F(RocksDbDirectory, RootOfAFreshFileSystemIsUsed) {
  std::filesystem::create_directories(path_ + "/lost+found");
  EXPECT_TRUE(Open(path_).ok());
}

TEST_F(RocksDbDirectory, MissingParentIsRefused) {
  ExpectRefused(Open(path_ + "/below"), absl::StatusCode::kFailedPrecondition, path_ + "/below",
                "parent directory does not exist; create it");
}

TEST_F(RocksDbDirectory, FileIsRefused) {
  std::ofstream(path_) << "a file";
  ExpectRefused(Open(path_), absl::StatusCode::kFailedPrecondition, path_, "is a file");
}

TEST_F(RocksDbDirectory, OtherFilesAreRefusedUntouched) {
  std::filesystem::create_directory(path_);
  std::ofstream(path_ + "/daemon.log") << "a message";
  ExpectRefused(Open(path_), absl::StatusCode::kFailedPrecondition, path_, "daemon.log");
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(path_)) {
    names.push_back(file.path().filename());
  }
  EXPECT_THAT(names, ElementsAre("daemon.log"));
}

TEST_F(RocksDbDirectory, DatabaseOfAnotherProgramIsRefused) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, path_, &db).ok());
  ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), "key", "value").ok());
  delete db;
  ExpectRefused(Open(path_), absl::StatusCode::kFailedPrecondition, path_, "another program");
}

TEST_F(RocksDbDirectory, UnknownFormatIsRefused) {
  ASSERT_TRUE(Open(path_).ok());
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), path_, &db).ok());
  const std::string key(kFormatKey);
  ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), key, EncodeRow(key, 0, "2")).ok());
  delete db;
  const absl::Status status = Open(path_);
  ExpectRefused(status, absl::StatusCode::kFailedPrecondition, path_, "has format 2");
  EXPECT_EQ(ErrorReason(status), "STORE_INCOMPATIBLE");
}

TEST_F(RocksDbDirectory, SecondStoreOfThisProcessIsRefused) {
  const auto first = *RocksDbStore::Open(path_, SmallStoreOptions(), clock_);
  ExpectRefused(Open(path_), absl::StatusCode::kFailedPrecondition, path_, "stop");
  EXPECT_TRUE(CommitAndWait(*first, {{}, {{"a", ""}}, {}}).ok());
}

TEST_F(RocksDbDirectory, StoreOfAnotherProcessIsRefused) {
  ASSERT_TRUE(Open(path_).ok());
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    struct flock whole = {};
    whole.l_type = F_WRLCK;
    const int fd = open((path_ + "/LOCK").c_str(), O_RDWR);
    if (fcntl(fd, F_SETLK, &whole) != 0 || write(ready[1], "x", 1) != 1) _exit(1);
    pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ExpectRefused(Open(path_), absl::StatusCode::kFailedPrecondition, path_, "another process");
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  EXPECT_TRUE(Open(path_).ok());
  close(ready[0]);
  close(ready[1]);
}

TEST_F(RocksDbDirectory, UnreadableStoreIsRefusedNamingTheFile) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  ASSERT_TRUE(Open(path_).ok());
  std::filesystem::permissions(directory_.path(), std::filesystem::perms::all);
  const AsNobody nobody;
  ExpectRefused(Open(path_), absl::StatusCode::kPermissionDenied, path_, "give it to the user");
}

TEST_F(RocksDbDirectory, ForbiddenParentIsRefusedNamingIt) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  std::filesystem::permissions(directory_.path(), std::filesystem::perms::owner_all |
                                                      std::filesystem::perms::others_read |
                                                      std::filesystem::perms::others_exec);
  const AsNobody nobody;
  ExpectRefused(Open(path_), absl::StatusCode::kPermissionDenied, directory_.path(),
                "give it to the user");
}

}  // namespace
}  // namespace nestor::server
