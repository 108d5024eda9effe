#include "server/store/database.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include "api/support/status_macros.h"
#include "server/store/log_replay.h"
#include "server/store/row_reader.h"
#include "server/store/store_directory.h"
#include "server/store/store_verifier.h"

namespace nestor::server {
namespace {

constexpr double kBloomBitsPerKey = 10;  // about 1% false positives

// Keeps RocksDB from going back to writing by itself when a full disk has room again.
class NoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

// RocksDB's warnings and errors go where this program's do. A log of its own in the store's
// directory, as it has by default, ends the program by an assertion when the disk is full.
class ProgramLog final : public rocksdb::Logger {
 public:
  ProgramLog() : Logger(rocksdb::WARN_LEVEL) {}
  void Logv(const char*, va_list) override {}  // says no level: only headers
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::HEADER_LEVEL) return;
    std::array<char, 1024> line{};
    std::vsnprintf(line.data(), line.size(), format, arguments);
    spdlog::log(level == rocksdb::WARN_LEVEL ? spdlog::level::warn : spdlog::level::err,
                "rocksdb: {}", line.data());
  }
};

rocksdb::Options MakeOptions(const DatabaseOptions& options, rocksdb::Env* environment) {
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.block_cache = rocksdb::NewLRUCache(options.block_cache_bytes);
  rocksdb::Options result;
  result.env = environment;
  result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  result.write_buffer_size = options.write_buffer_bytes;
  // Most keys that a commit compares are absent: a filter spares the search.
  result.memtable_whole_key_filtering = true;
  result.memtable_prefix_bloom_size_ratio = 0.05;
  // Replay stops before the first damage, wherever it is; VerifyDatabase judges what is left.
  result.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  result.write_dbid_to_manifest = true;  // which has a checksum, unlike the file IDENTITY
  result.max_bgerror_resume_count = 0;   // for the errors that NoRecovery does not hear of
  result.listeners = {std::make_shared<NoRecovery>()};
  result.info_log = std::make_shared<ProgramLog>();
  result.stats_dump_period_sec = 0;
  result.stats_persist_period_sec = 0;
  return result;
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

// Fills in what is verified, where there is a store, and says how its logs are replayed.
absl::Status Verify(const StoreDirectory& directory, rocksdb::Options& options,
                    Database& database) {
  ASSIGN_OR_RETURN(const StoreDirectory::Contents contents, directory.Inspect());
  if (contents == StoreDirectory::Contents::kNoStore) {
    options.create_if_missing = true;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const VerifiedDatabase verified, VerifyDatabase(directory, options));
  database.incarnation = verified.incarnation;
  database.head = verified.head;
  database.replay = std::make_unique<LogReplay>(verified.identity, verified.revision_of_tables);
  options.wal_filter = database.replay.get();
  return absl::OkStatus();
}

// The first write also proves that the disk takes any, before somebody relies on it.
rocksdb::Status WriteFirst(Database& database) {
  if (!database.incarnation.empty()) return MarkSynced(database, database.head.revision);
  database.incarnation = database.environment->GenerateUniqueId();
  return WriteRowsOfNewStore(database);
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
  Database database;
  database.environment = rocksdb::NewCompositeEnv(file_system);
  rocksdb::Options db_options = MakeOptions(options, database.environment.get());
  RETURN_IF_ERROR(Verify(directory, db_options, database));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(db_options, path, &db);
  if (!opened.ok()) return directory.Explain(opened);
  database.db.reset(db);
  RETURN_IF_ERROR(FromRocksDb(db->GetDbIdentity(database.identity), path));
  RETURN_IF_ERROR(FromRocksDb(WriteFirst(database), path));
  return database;
}

rocksdb::Status MarkSynced(const Database& database, int64_t revision) {
  rocksdb::WriteBatch batch;
  const std::string mark = EncodeLogMark(database.identity, {revision, revision, revision});
  batch.PutLogData(mark);
  batch.PutLogData(mark);  // see MakeBatch in rocksdb_store.cc
  return WriteSynced(database, batch);
}

}  // namespace nestor::server
