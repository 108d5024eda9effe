#include "server/store/log_replay.h"

#include <rocksdb/write_batch.h>

#include <optional>

#include "server/store/row_format.h"

namespace nestor::server {
namespace {

// Finds the mark among what a batch holds.
class MarkFinder final : public rocksdb::WriteBatch::Handler {
 public:
  explicit MarkFinder(const std::string& identity) : identity_(identity) {}

  void LogData(const rocksdb::Slice& blob) override {
    if (!mark_) mark_ = DecodeLogMark(identity_, {blob.data(), blob.size()});
  }
  const std::optional<LogMark>& mark() const { return mark_; }

 private:
  const std::string& identity_;
  std::optional<LogMark> mark_;
};

}  // namespace

rocksdb::WalFilter::WalProcessingOption LogReplay::LogRecordFound(unsigned long long,
                                                                  const std::string&,
                                                                  const rocksdb::WriteBatch& batch,
                                                                  rocksdb::WriteBatch*, bool*) {
  MarkFinder finder(identity_);
  // A batch that cannot be read is refused by RocksDB right after this.
  batch.Iterate(&finder).PermitUncheckedError();
  const std::optional<LogMark>& mark = finder.mark();
  if (!mark) return WalProcessingOption::kContinueProcessing;
  if (mark->revision_before != head_) return WalProcessingOption::kStopReplay;
  head_ = mark->revision_after;
  return WalProcessingOption::kContinueProcessing;
}

}  // namespace nestor::server
