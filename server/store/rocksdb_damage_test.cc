// A start refuses a damaged store and changes nothing, and starts on a torn log.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "server/store/fault_injecting_file_system.h"
#include "server/store/row_format.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// The files of a directory, by name.
using Image = std::map<std::string, std::string>;

Image ReadImage(const std::string& path) {
  Image image;
  for (const auto& file : std::filesystem::directory_iterator(path)) {
    std::ifstream in(file.path(), std::ios::binary);
    image[file.path().filename()] = {std::istreambuf_iterator<char>(in), {}};
  }
  return image;
}

void WriteImage(const Image& image, const std::string& path) {
  std::filesystem::remove_all(path);
  std::filesystem::create_directory(path);
  for (const auto& [name, bytes] : image) {
    std::ofstream(absl::StrCat(path, "/", name), std::ios::binary) << bytes;
  }
}

// RocksDB's messages and records of its options, which it does not read, and its lock.
bool HoldsNothing(const std::string& name) {
  return absl::StartsWith(name, "LOG") || absl::StartsWith(name, "OPTIONS-") || name == "LOCK";
}

std::string NewestLog(const Image& image) {
  std::string newest;
  for (const auto& [name, bytes] : image) {
    if (absl::EndsWith(name, ".log")) newest = name;
  }
  return newest;
}

// The database of a closed store, as another program would change it.
class RawDatabase {
 public:
  explicit RawDatabase(const std::string& path) {
    rocksdb::DB* db = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(rocksdb::Options(), path, &db);
    EXPECT_TRUE(status.ok()) << status.ToString();
    db_.reset(db);
  }
  void Put(const std::string& key, const std::string& value) {
    EXPECT_TRUE(db_->Put(rocksdb::WriteOptions(), key, value).ok());
  }
  void Delete(const std::string& key) {
    EXPECT_TRUE(db_->Delete(rocksdb::WriteOptions(), key).ok());
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
};

class RocksDbDamage : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<RocksDbStore>> Open() {
    RocksDbStoreOptions options = SmallStoreOptions();
    options.file_system = disk_;
    return RocksDbStore::Open(path_, options, clock_);
  }
  absl::StatusOr<std::unique_ptr<RocksDbStore>> Open(const Image& image) {
    WriteImage(image, path_);
    return Open();
  }

  // A store of `tables` revisions that are in a table and `logged` that are in the log, as a
  // crash leaves it.
  Image MakeImage(int tables, int logged) {
    {
      auto store = *Open();
      for (int i = 0; i < tables; ++i) Put(*store);
    }
    auto store = *Open();  // which moves what was logged into a table
    for (int i = 0; i < logged; ++i) Put(*store);
    expected_ = *store->Range("", "", 0);
    return ReadImage(path_);
  }
  void Put(RocksDbStore& store) {
    const Image before = ReadImage(path_);
    last_log_size_ = before.at(NewestLog(before)).size();
    const std::string revision = std::to_string(store.HeadRevision() + 1);
    ASSERT_TRUE(CommitAndWait(store, {{}, {{"key " + revision, "value " + revision}}, {}}).ok());
  }

  // Opens a damaged image. It must be refused as DATA_LOSS with no byte changed, or have
  // lost nothing. Whether it was refused.
  bool RefusesOrHasEverything(const Image& image) {
    const auto store = Open(image);
    if (!store.ok()) {
      EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
      EXPECT_EQ(ReadImage(path_), image);
      return true;
    }
    EXPECT_EQ(*(*store)->Range("", "", 0), expected_);
    return false;
  }

  SystemClock clock_;
  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/store";
  TemporaryDirectory backups_;
  // Only for its speed: it waits for no disk.
  std::shared_ptr<FaultInjectingFileSystem> disk_ =
      std::make_shared<FaultInjectingFileSystem>(backups_.path());
  std::vector<KeyValue> expected_;
  size_t last_log_size_ = 0;  // before the last Put
};

TEST_F(RocksDbDamage, BitFlippedInTheLogBeforeItsLastRecordIsRefusedUntouched) {
  const Image image = MakeImage(0, 3);
  const std::string log = NewestLog(image);
  for (size_t at = 0; at < last_log_size_; at += 3) {
    Image damaged = image;
    damaged[log][at] ^= static_cast<char>(1 << (at % 8));
    ASSERT_TRUE(RefusesOrHasEverything(damaged)) << "byte " << at;
  }
}

TEST_F(RocksDbDamage, BitFlippedInALengthFieldOfTheLogIsRefusedWhateverTheBit) {
  const Image image = MakeImage(0, 2);
  const std::string log = NewestLog(image);
  constexpr size_t kLengthAt = 4;  // of a record: after its checksum
  for (int bit = 0; bit < 16; ++bit) {
    Image damaged = image;
    damaged[log][kLengthAt + bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_TRUE(RefusesOrHasEverything(damaged)) << "bit " << bit;
  }
}

TEST_F(RocksDbDamage, LogTornAnywhereInItsLastRecordStartsWithAllBeforeIt) {
  const Image image = MakeImage(0, 4);
  const std::string log = NewestLog(image);
  for (size_t size = last_log_size_; size < image.at(log).size(); ++size) {
    Image torn = image;
    torn[log].resize(size);
    const auto store = Open(torn);
    ASSERT_TRUE(store.ok()) << size << ": " << store.status();
    EXPECT_EQ((*store)->HeadRevision(), 3);
    EXPECT_THAT(*(*store)->Range("", "", 0), SizeIs(3));
    EXPECT_EQ(CommitAndWait(**store, {{Compare::Absent("key 4")}, {{"key 4", ""}}, {}}).value_or(0),
              4);
  }
}

TEST_F(RocksDbDamage, LogEndingInZerosOfALostPageStarts) {
  Image image = MakeImage(0, 4);
  std::string& log = image[NewestLog(image)];
  std::fill(log.begin() + static_cast<ptrdiff_t>(last_log_size_), log.end(), '\0');
  const auto store = Open(image);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->HeadRevision(), 3);
}

// Where RocksDB finds zeros for a record, it reads on in the next block of its log.
TEST_F(RocksDbDamage, LogWithALostPageBeforeABlockStartsWithAllBeforeThePage) {
  constexpr size_t kBlock = 32 << 10;
  auto store = *Open();
  const auto log_size = [this] {
    const Image image = ReadImage(path_);
    return image.at(NewestLog(image)).size();
  };
  const auto put = [&](size_t value_size) {
    const Transaction relaxed{
        {},
        {{absl::StrCat("key ", 100 + store->HeadRevision()), std::string(value_size, 'x')}},
        {},
        Durability::kRelaxed};
    ASSERT_TRUE(CommitAndWait(*store, relaxed).ok());
  };
  const size_t before = log_size();
  put(1000);
  const size_t hole = log_size();
  const size_t overhead = hole - before - 1000;  // of a record, the same for all these
  while (log_size() < kBlock - 3000) put(1000);
  put(kBlock - log_size() - overhead);
  ASSERT_EQ(log_size(), kBlock);
  put(1000);

  Image image = ReadImage(path_);
  store.reset();
  std::string& log = image[NewestLog(image)];
  std::fill(log.begin() + static_cast<ptrdiff_t>(hole), log.begin() + kBlock, '\0');
  const auto recovered = Open(image);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ((*recovered)->HeadRevision(), 1);
  EXPECT_THAT(*(*recovered)->Range("", "", 0), SizeIs(1));
}

TEST_F(RocksDbDamage, BitFlippedInTheLastRecordOfAClosedStoreIsRefusedUntouched) {
  {
    auto store = *Open();
    Put(*store);
  }
  Image image = ReadImage(path_);
  image[NewestLog(image)][last_log_size_ + 10] ^= 1;
  EXPECT_TRUE(RefusesOrHasEverything(image));
}

TEST_F(RocksDbDamage, BitFlippedInAnyOtherFileIsRefusedUntouchedOrHarmless) {
  const Image image = MakeImage(20, 2);
  for (const auto& [name, bytes] : image) {
    if (HoldsNothing(name) || name == NewestLog(image)) continue;
    for (size_t at = 0; at < bytes.size(); at += 5) {
      Image damaged = image;
      damaged[name][at] ^= static_cast<char>(1 << (at % 8));
      const bool refused = RefusesOrHasEverything(damaged);
      ASSERT_FALSE(HasFailure()) << name << " byte " << at;
      const bool has_a_meaning =  // and is not, say, in the statistics of a table
          absl::StartsWith(name, "MANIFEST-") ||
          (absl::EndsWith(name, ".sst") && at < bytes.size() / 4);
      EXPECT_TRUE(refused || !has_a_meaning) << name << " byte " << at;
    }
  }
}

TEST_F(RocksDbDamage, TableManifestOrCurrentMissingEmptyOrCutIsRefusedUntouched) {
  const Image image = MakeImage(20, 2);
  for (const auto& [name, bytes] : image) {
    if (HoldsNothing(name) || name == "IDENTITY" || name == NewestLog(image)) continue;
    Image missing = image;
    missing.erase(name);
    EXPECT_TRUE(RefusesOrHasEverything(missing)) << name;
    for (size_t size : {size_t{0}, bytes.size() / 2}) {
      Image cut = image;
      cut[name].resize(size);
      EXPECT_TRUE(RefusesOrHasEverything(cut)) << name << " of " << size << " bytes";
    }
  }
}

TEST_F(RocksDbDamage, TablesThatNoManifestNamesAreRefusedUntouched) {
  Image image = MakeImage(20, 2);
  image.erase(NewestLog(image));
  for (auto& [name, bytes] : image) {
    if (absl::StartsWith(name, "MANIFEST-")) bytes.resize(bytes.size() / 2);
  }
  EXPECT_TRUE(RefusesOrHasEverything(image));
}

TEST_F(RocksDbDamage, RowThatDoesNotVerifyIsRefusedByName) {
  MakeImage(2, 0);
  {
    RawDatabase database(path_);
    database.Put("kkey 1", EncodeRow("kkey 2", 1, "value 1"));
  }
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorReason(status), "STORE_CORRUPT");
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path_), HasSubstr("key 1")));
}

TEST_F(RocksDbDamage, RowGoneWithoutTraceIsRefused) {
  MakeImage(2, 0);
  {
    RawDatabase database(path_);
    database.Delete("kkey 1");
  }
  const absl::Status status = Open().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("should hold 2 keys; it holds 1"));
}

}  // namespace
}  // namespace nestor::server
