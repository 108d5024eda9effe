// What the same machine does without Nestor: the floors that its figures stand beside.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "tests/bench/closed_loop.h"
#include "tests/testing/process.h"

namespace nestor::bench {

// The request of every create, told apart by `number`; bindings are spread over `machines`
// virtual machines with one device each.
v1::CreatePasidBindingRequest CreateRequest(int64_t number, int machines);
// The resource name and device of such a machine.
std::string MachineName(int machine);
inline constexpr char kDevice[] = "0000:3b:00.0";

// Answers CreatePasidBinding with the binding that it got, and each Sync message with an
// empty one, until its process is killed. Listens on `address`.
int RunEchoServer(const std::string& address);

// fdatasync(2) after a write of 4 KiB at the end of a file in `directory`: its median.
absl::StatusOr<absl::Duration> MeasureFdatasync(const std::string& directory);

// RocksDB's bare synced write of a batch of `rows` rows of 300 bytes in `directory`: batches
// a second, from one thread.
absl::StatusOr<double> MeasureRocksDbBatches(const std::string& directory, int rows,
                                             absl::Duration duration);

// A real etcd with its data in `directory`; null where etcd is not installed.
class Etcd {
 public:
  static std::unique_ptr<Etcd> Start(const std::string& directory);
  LoopResult MeasurePuts(int in_flight, absl::Duration duration);

 private:
  std::string address_;
  std::unique_ptr<testing::Process> process_;
};

}  // namespace nestor::bench
