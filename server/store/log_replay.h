// How far a start replays the write-ahead logs.
#pragma once

#include <rocksdb/wal_filter.h>

#include <cstdint>
#include <string>
#include <utility>

namespace nestor::server {

// Ends replay at the first batch that was not written upon the one before it. RocksDB alone
// does not notice: where it finds zeros for a record, as a power cut leaves where a page was
// not written, it reads on in the log's next block. Batches without a mark pass: they make a
// new store, or are another program's.
//
// Used by one opening of a database at a time, on the thread that opens it.
class LogReplay final : public rocksdb::WalFilter {
 public:
  // `identity`: of the database. `head`: the revision that its tables hold.
  LogReplay(std::string identity, int64_t head) : identity_(std::move(identity)), head_(head) {}

  const char* Name() const override { return "LogReplay"; }
  WalProcessingOption LogRecordFound(unsigned long long log_number, const std::string& log_path,
                                     const rocksdb::WriteBatch& batch,
                                     rocksdb::WriteBatch* new_batch, bool* batch_changed) override;

 private:
  const std::string identity_;
  int64_t head_;
};

// Replays nothing, to see what the tables hold.
class NoLogReplay final : public rocksdb::WalFilter {
 public:
  const char* Name() const override { return "NoLogReplay"; }
  WalProcessingOption LogRecordFound(unsigned long long, const std::string&,
                                     const rocksdb::WriteBatch&, rocksdb::WriteBatch*,
                                     bool*) override {
    return WalProcessingOption::kStopReplay;
  }
};

}  // namespace nestor::server
