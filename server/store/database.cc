#include "server/store/database.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/store/row_reader.h"
#include "server/store/store_directory.h"

namespace nestor::server {
namespace {

constexpr double kBloomBitsPerKey = 10;  // about 1% false positives
constexpr size_t kInfoLogsKept = 4;
constexpr size_t kInfoLogBytes = size_t{4} << 20;

// A read-only look must not leave a LOG file behind.
class SilentLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// Keeps RocksDB from going back to writing by itself when a full disk has room again.
class NoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

// What a store says of itself.
struct StoredState {
  std::string incarnation;
  StoreHead head;
};

rocksdb::Options MakeOptions(const DatabaseOptions& options, rocksdb::Env* environment) {
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.block_cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  rocksdb::Options result;
  result.env = environment;
  result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  result.write_buffer_size = options.write_buffer_bytes;
  // Replay stops before the first damage, wherever it is; OpenDatabase judges what is left.
  result.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  result.write_dbid_to_manifest = true;
  result.max_bgerror_resume_count = 0;  // for the errors that NoRecovery does not hear of
  result.listeners = {std::make_shared<NoRecovery>()};
  result.keep_log_file_num = kInfoLogsKept;
  result.max_log_file_size = kInfoLogBytes;
  result.stats_dump_period_sec = 0;
  result.stats_persist_period_sec = 0;
  return result;
}

absl::StatusOr<std::unique_ptr<rocksdb::DB>> OpenReadOnly(const StoreDirectory& directory,
                                                          rocksdb::Options options) {
  options.info_log = std::make_shared<SilentLogger>();
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

// Nothing where the database says nothing of a store.
absl::StatusOr<std::optional<StoredState>> ReadState(const RowReader& reader) {
  ASSIGN_OR_RETURN(const std::optional<Row> format, reader.Find(kFormatKey));
  if (!format) return std::optional<StoredState>();
  if (format->value != kStoreFormat) {
    return errors::StoreIncompatible(absl::StrCat(
        "the store at ", reader.path(), " has format ", format->value, ", this program knows ",
        kStoreFormat, "; run the version that wrote it, or a newer one"));
  }
  ASSIGN_OR_RETURN(const std::optional<Row> incarnation, reader.Find(kIncarnationKey));
  ASSIGN_OR_RETURN(const std::optional<Row> head_row, reader.Find(kHeadKey));
  std::optional<StoreHead> head;
  if (head_row) head = DecodeHead(*head_row);
  if (!incarnation || !head) {
    return errors::StoreCorrupt(reader.path(), "rows about the store are missing");
  }
  return StoredState{incarnation->value, *head};
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

// Nothing where a creation was cut short. Changes no file.
absl::StatusOr<std::optional<StoredState>> Verify(const StoreDirectory& directory,
                                                  const rocksdb::Options& options) {
  ASSIGN_OR_RETURN(const auto lock, directory.Acquire());
  ASSIGN_OR_RETURN(const std::unique_ptr<rocksdb::DB> db, OpenReadOnly(directory, options));
  std::string identity;
  RETURN_IF_ERROR(FromRocksDb(db->GetDbIdentity(identity), directory.path()));
  ASSIGN_OR_RETURN(const std::optional<int64_t> synced, directory.HighestSyncMarkOfLogs(identity));
  const RowReader reader(*db, directory.path());
  ASSIGN_OR_RETURN(std::optional<StoredState> state, ReadState(reader));
  if (!state) {
    RETURN_IF_ERROR(VerifyUnused(directory, reader, *db, synced.has_value()));
    return state;
  }
  if (synced > state->head.revision) {
    return errors::StoreCorrupt(
        directory.path(),
        absl::StrCat("revision ", *synced, " was stored, but only ", state->head.revision,
                     " can be read; a log or the manifest is damaged"));
  }
  RETURN_IF_ERROR(VerifyRows(reader, state->head));
  return state;
}

rocksdb::Status WriteSynced(const Database& database, rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  return database.db->Write(options, &batch);
}

rocksdb::Status WriteRowsOfNewStore(const Database& database) {
  rocksdb::WriteBatch batch;
  batch.Put(std::string(kFormatKey), EncodeRow(kFormatKey, 0, kStoreFormat));
  batch.Put(std::string(kIncarnationKey), EncodeRow(kIncarnationKey, 0, database.incarnation));
  batch.Put(std::string(kHeadKey), EncodeHead(database.head));
  return WriteSynced(database, batch);
}

}  // namespace

Database::Database() = default;
Database::Database(Database&&) noexcept = default;
Database::~Database() = default;

absl::StatusOr<Database> OpenDatabase(const std::string& path, const DatabaseOptions& options) {
  const auto file_system =
      options.file_system ? options.file_system : rocksdb::FileSystem::Default();
  StoreDirectory directory(path, file_system);
  RETURN_IF_ERROR(directory.CreateIfMissing());
  ASSIGN_OR_RETURN(const StoreDirectory::Contents contents, directory.Inspect());

  Database database;
  database.environment = rocksdb::NewCompositeEnv(file_system);
  rocksdb::Options db_options = MakeOptions(options, database.environment.get());
  std::optional<StoredState> state;
  if (contents == StoreDirectory::Contents::kStore) {
    ASSIGN_OR_RETURN(state, Verify(directory, db_options));
  } else {
    db_options.create_if_missing = true;
  }
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(db_options, path, &db);
  if (!opened.ok()) return directory.Explain(opened);
  database.db.reset(db);
  RETURN_IF_ERROR(FromRocksDb(db->GetDbIdentity(database.identity), path));
  if (state) {
    database.incarnation = state->incarnation;
    database.head = state->head;
  } else {
    database.incarnation = database.environment->GenerateUniqueId();
  }
  // Either write also proves that the disk takes any, before somebody relies on it.
  RETURN_IF_ERROR(FromRocksDb(
      state ? MarkSynced(database, state->head.revision) : WriteRowsOfNewStore(database), path));
  return database;
}

rocksdb::Status MarkSynced(const Database& database, int64_t revision) {
  rocksdb::WriteBatch batch;
  const std::string mark = EncodeSyncMark(database.identity, revision);
  batch.PutLogData(mark);
  batch.PutLogData(mark);  // see MakeBatch in rocksdb_store.cc
  return WriteSynced(database, batch);
}

}  // namespace nestor::server
