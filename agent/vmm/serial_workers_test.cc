#include "agent/vmm/serial_workers.h"

#include <atomic>
#include <future>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;

TEST(SerialWorkersTest, TasksOfOneKeyRunInOrder) {
  std::vector<int> order;  // of one key, so by one task at a time
  std::promise<void> done;
  SerialWorkers workers(4);
  for (int i = 0; i < 3; ++i) {
    workers.Post("a", [&, i] { order.push_back(i); });
  }
  workers.Post("a", [&] { done.set_value(); });
  done.get_future().wait();
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

TEST(SerialWorkersTest, BlockedKeyHoldsOneThread) {
  std::promise<void> unblock;
  std::promise<void> other_ran;
  SerialWorkers workers(2);
  workers.Post("blocked", [&] { unblock.get_future().wait(); });
  for (int i = 0; i < 3; ++i) workers.Post("blocked", [] {});
  workers.Post("other", [&] { other_ran.set_value(); });
  other_ran.get_future().wait();
  unblock.set_value();
}

TEST(SerialWorkersTest, KeysTakeTurns) {
  std::vector<char> order;  // one thread
  std::promise<void> go;
  std::promise<void> done;
  SerialWorkers workers(1);
  workers.Post("a", [&] { go.get_future().wait(); });
  for (int i = 0; i < 2; ++i) workers.Post("a", [&] { order.push_back('a'); });
  for (int i = 0; i < 2; ++i) workers.Post("b", [&] { order.push_back('b'); });
  workers.Post("c", [&] { order.push_back('c'); });
  workers.Post("a", [&] { done.set_value(); });
  go.set_value();
  done.get_future().wait();
  EXPECT_THAT(order, ElementsAre('b', 'c', 'a', 'b', 'a'));
}

TEST(SerialWorkersTest, StopLetsARunningTaskEndAndTakesNoMore) {
  std::atomic<bool> ended = false;
  std::atomic<bool> late_ran = false;
  std::promise<void> begun;
  SerialWorkers workers(1);
  workers.Post("a", [&] {
    begun.set_value();
    ended = true;
  });
  begun.get_future().wait();
  workers.Stop();
  workers.Post("a", [&] { late_ran = true; });
  EXPECT_TRUE(ended);
  EXPECT_FALSE(late_ran);
}

}  // namespace
}  // namespace nestor::agent
