#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "agent/core/kernel_error.h"
#include "agent/shim/inline_shim_fixture.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ShimInvalidateTest : public InlineShimTest {
 protected:
  // A machine whose binding of PASID 5 of kA is programmed.
  std::shared_ptr<Shim> LaunchBound() {
    auto shim = LaunchGuest();
    EXPECT_TRUE(Tell(*shim, Binding("b", 5, 0x1000)).ok());
    EXPECT_TRUE(reports_.WaitForBinding("vm-uid b g1 PROGRAMMED"));
    return shim;
  }
  // What became of it, once it is known.
  static std::future<absl::Status> Invalidate(Shim& shim, const BindingKey& key,
                                              uint64_t address = 0, uint64_t size = 0) {
    auto outcome = std::make_shared<std::promise<absl::Status>>();
    shim.Invalidate(key, address, size,
                    [outcome](absl::Status status) { outcome->set_value(std::move(status)); });
    return outcome->get_future();
  }

  // The steps of a shim wait in the kernel from the constructor to Release.
  class BusyKernel {
   public:
    BusyKernel(RecordingBackend& backend, Shim& shim) {
      backend.SetHook([this](const Step&) {
        reached_.count_down();
        released_.wait();
        return absl::OkStatus();
      });
      EXPECT_TRUE(Tell(shim, Binding("other", 6, 0x1000)).ok());
      reached_.wait();
      backend.SetHook(nullptr);
    }
    void Release() { released_.count_down(); }

   private:
    std::latch reached_{1};
    std::latch released_{1};
  };

  const BindingKey key_{kA, 5};
};

TEST_F(ShimInvalidateTest, RangeOfAProgrammedBindingReachesTheKernel) {
  const auto shim = LaunchBound();
  EXPECT_TRUE(Invalidate(*shim, key_, 0x1000, 0x2000).get().ok());
  EXPECT_TRUE(Invalidate(*shim, key_).get().ok());
  EXPECT_THAT(backend_.invalidated(),
              ElementsAre("0000:3b:00.0 5 0x1000+0x2000", "0000:3b:00.0 5 0x0+0x0"));
}

TEST_F(ShimInvalidateTest, WhatIsNotProgrammedIsRefusedWithoutACall) {
  const auto shim = LaunchBound();
  const absl::Status status = Invalidate(*shim, {kA, 6}).get();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetReason(status), "NOT_PROGRAMMED");
  EXPECT_THAT(backend_.invalidated(), IsEmpty());
}

TEST_F(ShimInvalidateTest, KernelErrorIsTheAnswer) {
  const auto shim = LaunchBound();
  backend_.SetInvalidateStatus(KernelErrorStatus({"CACHE_INVALIDATE", "pasid 5", EIO}));
  EXPECT_EQ(GetKernelError(Invalidate(*shim, key_).get())->error_number, EIO);
}

TEST_F(ShimInvalidateTest, RunningStepIsWaitedForWhileTheCallerGoesOn) {
  const auto shim = LaunchBound();
  BusyKernel kernel(backend_, *shim);
  std::future<absl::Status> outcome = Invalidate(*shim, key_);
  EXPECT_THAT(backend_.invalidated(), IsEmpty());
  kernel.Release();
  EXPECT_TRUE(outcome.get().ok());
}

TEST_F(ShimInvalidateTest, OneMoreThanMayWaitIsRefusedAtOnce) {
  const auto shim = LaunchBound();
  BusyKernel kernel(backend_, *shim);
  std::vector<std::future<absl::Status>> waiting;
  for (size_t i = 0; i < Shim::kMaxInvalidations; ++i) {
    waiting.push_back(Invalidate(*shim, key_));
  }
  EXPECT_EQ(GetReason(Invalidate(*shim, key_).get()), "QUEUE_FULL");
  kernel.Release();
  for (auto& outcome : waiting) EXPECT_TRUE(outcome.get().ok());
}

TEST_F(ShimInvalidateTest, EndOfTheShimAnswersWhatWaits) {
  const auto shim = LaunchBound();
  std::future<absl::Status> outcome;
  {
    BusyKernel kernel(backend_, *shim);
    outcome = Invalidate(*shim, key_);
    std::thread end([this] { launcher_.reset(); });
    // Refusals begin with the end.
    while (shim->VmmConnected(kB).status().code() != absl::StatusCode::kUnavailable) {
    }
    kernel.Release();
    end.join();
  }
  EXPECT_EQ(outcome.get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Invalidate(*shim, key_).get().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace nestor::agent
