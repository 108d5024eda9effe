#include "server/store/store_verifier.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/store/log_replay.h"
#include "server/store/row_reader.h"

namespace nestor::server {
namespace {

// A read-only look must not leave a LOG file behind.
class SilentLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenReadOnly(const StoreDirectory& directory,
                                                          rocksdb::Options options,
                                                          rocksdb::WalFilter& replay) {
  options.info_log = std::make_shared<SilentLogger>();
  options.wal_filter = &replay;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(
      options, directory.path(), {{rocksdb::kDefaultColumnFamilyName, options}}, &handles, &db);
  // CURRENT is there, so a file that is missing was lost.
  if (status.IsPathNotFound()) return errors::StoreCorrupt(directory.path(), status.ToString());
  if (!status.ok()) return directory.Explain(status);
  for (rocksdb::ColumnFamilyHandle* handle : handles) delete handle;
  return std::unique_ptr<rocksdb::DB>(db);
}

absl::StatusOr<bool> IsEmpty(const RowReader& reader, rocksdb::DB& db) {
  const std::unique_ptr<rocksdb::Iterator> first(db.NewIterator(rocksdb::ReadOptions()));
  first->SeekToFirst();
  RETURN_IF_ERROR(FromRocksDb(first->status(), reader.path()));
  return !first->Valid();
}

absl::StatusOr<std::optional<StoreHead>> ReadHead(const RowReader& reader) {
  ASSIGN_OR_RETURN(const std::optional<Row> row, reader.Find(kHeadKey));
  if (!row) return std::optional<StoreHead>();
  std::optional<StoreHead> head = DecodeHead(*row);
  if (!head) return errors::StoreCorrupt(reader.path(), "its head revision cannot be read");
  return head;
}

// Fills in what the rows about the store say; nothing where there are none.
absl::Status ReadState(const RowReader& reader, VerifiedDatabase& result) {
  ASSIGN_OR_RETURN(const std::optional<Row> format, reader.Find(kFormatKey));
  if (!format) return absl::OkStatus();
  if (format->value != kStoreFormat) {
    return errors::StoreIncompatible(absl::StrCat(
        "the store at ", reader.path(), " has format ", format->value, ", this program knows ",
        kStoreFormat, "; run the version that wrote it, or a newer one"));
  }
  ASSIGN_OR_RETURN(const std::optional<Row> incarnation, reader.Find(kIncarnationKey));
  ASSIGN_OR_RETURN(const std::optional<StoreHead> head, ReadHead(reader));
  if (!incarnation || !head) {
    return errors::StoreCorrupt(reader.path(), "rows about the store are missing");
  }
  result.incarnation = incarnation->value;
  result.head = *head;
  return absl::OkStatus();
}

// Reads every row.
absl::Status VerifyRows(const RowReader& reader, const StoreHead& head) {
  StoreHead found;
  found.revision = head.revision;
  RETURN_IF_ERROR(reader.Scan("", "", [&found](absl::string_view, const Row& row) {
    ++found.rows;
    found.checksum_sum += row.checksum;
    return true;
  }));
  if (found == head) return absl::OkStatus();
  return errors::StoreCorrupt(
      reader.path(), absl::StrCat("at revision ", head.revision, " it should hold ", head.rows,
                                  " keys; it holds ", found.rows, " or other ones"));
}

// OK where the database is what a creation leaves that was cut short before it stored.
absl::Status VerifyUnused(const StoreDirectory& directory, const RowReader& reader, rocksdb::DB& db,
                          bool has_marks) {
  ASSIGN_OR_RETURN(const bool empty, IsEmpty(reader, db));
  if (has_marks || (empty && directory.HasTables())) {
    return errors::StoreCorrupt(directory.path(),
                                "its first rows are lost; a log or the manifest is damaged");
  }
  if (empty) return absl::OkStatus();
  return errors::StoreIncompatible(
      absl::StrCat(directory.path(), " holds a database of another program; give the store an ",
                   "empty directory of its own"));
}

// Fills in identity and revision_of_tables.
absl::Status ReadTables(const StoreDirectory& directory, const rocksdb::Options& options,
                        VerifiedDatabase& result) {
  NoLogReplay replay;
  ASSIGN_OR_RETURN(const auto db, OpenReadOnly(directory, options, replay));
  RETURN_IF_ERROR(FromRocksDb(db->GetDbIdentity(result.identity), directory.path()));
  ASSIGN_OR_RETURN(const auto head, ReadHead(RowReader(*db, directory.path())));
  if (head) result.revision_of_tables = head->revision;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<VerifiedDatabase> VerifyDatabase(const StoreDirectory& directory,
                                                const rocksdb::Options& options) {
  ASSIGN_OR_RETURN(const auto lock, directory.Acquire());
  VerifiedDatabase result;
  RETURN_IF_ERROR(ReadTables(directory, options, result));
  LogReplay replay(result.identity, result.revision_of_tables);
  ASSIGN_OR_RETURN(const auto db, OpenReadOnly(directory, options, replay));
  const RowReader reader(*db, directory.path());
  RETURN_IF_ERROR(ReadState(reader, result));
  ASSIGN_OR_RETURN(const std::optional<int64_t> synced,
                   directory.HighestSyncedRevisionOfLogs(result.identity));
  if (result.incarnation.empty()) {
    RETURN_IF_ERROR(VerifyUnused(directory, reader, *db, synced.has_value()));
    return result;
  }
  if (synced > result.head.revision) {
    return errors::StoreCorrupt(
        directory.path(),
        absl::StrCat("revision ", *synced, " was stored, but only ", result.head.revision,
                     " can be read; a log or the manifest is damaged"));
  }
  RETURN_IF_ERROR(VerifyRows(reader, result.head));
  return result;
}

}  // namespace nestor::server
