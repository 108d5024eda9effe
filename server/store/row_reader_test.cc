#include "server/store/row_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <memory>
#include <vector>

#include "api/support/errors.h"
#include "server/store/testing.h"

namespace nestor::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RowReaderTest : public ::testing::Test {
 protected:
  RowReaderTest() {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* db = nullptr;
    EXPECT_TRUE(rocksdb::DB::Open(options, directory_.path(), &db).ok());
    db_.reset(db);
  }
  void Put(const std::string& key, const std::string& bytes) {
    ASSERT_TRUE(db_->Put(rocksdb::WriteOptions(), DataKey(key), bytes).ok());
  }

  TemporaryDirectory directory_;
  std::unique_ptr<rocksdb::DB> db_;
};

TEST_F(RowReaderTest, RowThatDoesNotVerifyIsDataLossNamingKeyAndPath) {
  const RowReader reader(*db_, directory_.path());
  Put("a", EncodeRow(DataKey("a"), 1, ""));
  Put("b\n", EncodeRow(DataKey("another"), 2, ""));
  std::vector<std::string> seen;
  const absl::Status scanned = reader.Scan("", "", [&](absl::string_view key, const Row&) {
    seen.emplace_back(key);
    return true;
  });
  EXPECT_THAT(seen, ElementsAre("a"));
  for (const absl::Status& status : {scanned, reader.Find(DataKey("b\n")).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(ErrorReason(status), "STORE_CORRUPT");
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("b\\n"), HasSubstr(directory_.path())));
  }
}

TEST_F(RowReaderTest, ScanSeesOneMomentAndNoRowsAboutTheStore) {
  const RowReader reader(*db_, directory_.path());
  for (const char* key : {"a", "c"}) Put(key, EncodeRow(DataKey(key), 1, ""));
  const std::string head(kHeadKey);
  ASSERT_TRUE(db_->Put(rocksdb::WriteOptions(), head, EncodeHead({})).ok());
  std::vector<std::string> seen;
  ASSERT_TRUE(reader
                  .Scan("", "",
                        [&](absl::string_view key, const Row&) {
                          Put("b", EncodeRow(DataKey("b"), 2, ""));
                          seen.emplace_back(key);
                          return true;
                        })
                  .ok());
  EXPECT_THAT(seen, ElementsAre("a", "c"));
}

}  // namespace
}  // namespace nestor::server
