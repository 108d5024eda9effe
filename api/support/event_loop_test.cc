#include "api/support/event_loop.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace nestor {
namespace {

TEST(EventLoop, RunsInOrderOfPosting) {
  std::vector<int> order;
  std::promise<void> done;
  EventLoop loop;
  for (int i = 0; i < 100; ++i) loop.Post([&order, i] { order.push_back(i); });
  loop.Post([&done] { done.set_value(); });
  done.get_future().wait();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(EventLoop, LaterFunctionsRunInOrderOfTime) {
  std::vector<int> order;
  std::promise<void> done;
  EventLoop loop;
  loop.Post([&] {
    loop.PostAfter(absl::Milliseconds(2), [&] {
      order.push_back(2);
      done.set_value();
    });
    loop.PostAfter(absl::Milliseconds(1), [&] { order.push_back(1); });
  });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(EventLoop, StopDropsWhatWaits) {
  bool ran = false;
  EventLoop loop;
  loop.PostAfter(absl::Hours(1), [&ran] { ran = true; });
  loop.Stop();
  loop.Post([&ran] { ran = true; });
  loop.Stop();
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace nestor
