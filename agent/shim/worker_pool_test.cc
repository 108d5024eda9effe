#include "agent/shim/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>

namespace nestor::agent {
namespace {

TEST(WorkerPoolTest, RunsAsManyFunctionsAtOnceAsItHasThreads) {
  std::latch all(4);  // each waits for the others and for us
  WorkerPool pool(3);
  for (int i = 0; i < 3; ++i) pool.Post([&all] { all.arrive_and_wait(); });
  all.arrive_and_wait();
}

TEST(WorkerPoolTest, StartsFunctionsInOrder) {
  std::vector<int> order;
  std::latch done(1);
  WorkerPool pool(1);
  for (int i = 0; i < 3; ++i) pool.Post([&order, i] { order.push_back(i); });
  pool.Post([&done] { done.count_down(); });
  done.wait();
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2));
}

TEST(WorkerPoolTest, StopWaitsForWhatRunsAndDropsTheRest) {
  std::latch started(1);
  std::latch go_on(1);
  bool ended = false;
  const auto held = std::make_shared<int>();
  WorkerPool pool(1);
  pool.Post([&] {
    started.count_down();
    go_on.wait();
    ended = true;
  });
  pool.Post([held] { FAIL() << "dropped functions do not run"; });
  started.wait();
  std::thread stopper([&pool] { pool.Stop(); });
  // The waiting function is dropped before Stop waits.
  while (held.use_count() > 1) std::this_thread::yield();
  go_on.count_down();
  stopper.join();
  EXPECT_TRUE(ended);
  pool.Post([] { FAIL() << "nothing runs after Stop"; });
}

}  // namespace
}  // namespace nestor::agent
