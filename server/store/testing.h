// Stores for tests: a real one in a directory of its own.
#pragma once

#include <memory>
#include <string>

#include "api/support/clock.h"
#include "server/store/rocksdb_store.h"

namespace nestor::server {

// A fresh directory below the test's temporary one, removed with all in it at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Options that open quickly and use little memory.
RocksDbStoreOptions SmallStoreOptions();

// A RocksDbStore in a TemporaryDirectory. A failure to open ends the program.
class TemporaryStore {
 public:
  explicit TemporaryStore(RocksDbStoreOptions options = SmallStoreOptions());

  RocksDbStore& operator*() { return *store_; }
  RocksDbStore* operator->() { return store_.get(); }
  const std::string& path() const { return directory_.path(); }

  // Closes the store and opens it again, as a restart of its process would. Ends watches.
  void Reopen();

 private:
  SystemClock clock_;
  TemporaryDirectory directory_;
  RocksDbStoreOptions options_;
  std::unique_ptr<RocksDbStore> store_;
};

}  // namespace nestor::server
