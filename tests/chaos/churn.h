// A client that creates, changes and deletes bindings of one virtual machine all the time, and
// remembers what it was acknowledged.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "nestor/v1/pasid_binding_service.grpc.pb.h"

namespace nestor::chaos {

// An acknowledged binding.
struct Intent {
  std::string uid;
  uint32_t pasid = 0;
  uint64_t root = 0;
};

// Each request is repeated, under the same request id, until it has an answer that is final: so
// what was acknowledged is known exactly. Public functions are thread-safe.
class Churn {
 public:
  struct Options {
    std::string vm;      // the id in project "test"
    std::string device;  // a BDF
    // PASIDs from here on are the client's own, each used once.
    uint32_t first_pasid = 0;
    std::vector<uint64_t> roots;
    uint64_t seed = 0;
  };
  Churn(v1::PasidBindingService::Stub& bindings, Options options);
  // Stops.
  ~Churn();

  // Ends once the request on its way has its answer. Idempotent.
  void Stop();

  int64_t acknowledged() const { return acknowledged_; }
  // What is there and what is not must be told apart from one that was never answered: lines
  // that say which acknowledged intent was not found as acknowledged, or which answer cannot be.
  std::vector<std::string> lost() const;
  // By binding id. Once stopped.
  const std::map<std::string, Intent>& held() const { return held_; }
  const std::vector<std::string>& deleted() const { return deleted_; }
  std::string Name(const std::string& id) const;

 private:
  void Run();
  void Create();
  void ChangeRoot(const std::string& id);
  void Delete(const std::string& id);
  // That the store has `id` as acknowledged.
  void Check(const std::string& id);
  void Lose(const std::string& what);
  std::string NewRequestId();
  // An id of `held_`.
  std::string Any();

  v1::PasidBindingService::Stub& bindings_;
  const Options options_;
  std::mt19937_64 random_;
  uint32_t created_ = 0;
  uint64_t requests_ = 0;
  std::map<std::string, Intent> held_;  // of the thread, and of others once it ended
  std::vector<std::string> deleted_;
  std::atomic<int64_t> acknowledged_ = 0;
  std::atomic<bool> stopped_ = false;
  mutable std::mutex mutex_;
  std::vector<std::string> lost_;
  std::thread thread_;
};

}  // namespace nestor::chaos
