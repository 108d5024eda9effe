#include "server/store/testing.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <utility>

// The distribution's RocksDB is not built for ThreadSanitizer, which then sees none of its
// atomics and reports what they guard. Every test that opens a store links this.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the sanitizer's name
extern "C" const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() { return "race:rocksdb::\n"; }
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

namespace nestor::server {
namespace {

std::string MakeTemporaryDirectory() {
  std::string path = std::filesystem::temp_directory_path() / "nestor-store-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    std::cerr << "cannot create " << path << std::endl;
    std::abort();
  }
  return path;
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() : path_(MakeTemporaryDirectory()) {}

TemporaryDirectory::~TemporaryDirectory() { std::filesystem::remove_all(path_); }

RocksDbStoreOptions SmallStoreOptions() {
  RocksDbStoreOptions options;
  options.write_buffer_bytes = size_t{1} << 20;
  options.block_cache_bytes = size_t{1} << 20;
  return options;
}

TemporaryStore::TemporaryStore(RocksDbStoreOptions options) : options_(std::move(options)) {
  Reopen();
}

void TemporaryStore::Reopen() {
  store_.reset();  // before another one can lock the directory
  auto store = RocksDbStore::Open(directory_.path(), options_, clock_);
  if (!store.ok()) {
    std::cerr << store.status() << std::endl;
    std::abort();
  }
  store_ = *std::move(store);
}

}  // namespace nestor::server
