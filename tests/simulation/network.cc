#include "tests/simulation/network.h"

namespace nestor::simulation {

absl::Duration Network::Latency() {
  Choices& choices = scheduler_.choices();
  const bool late = !calm_ && choices.Percent(3);
  return late ? choices.Between(absl::Milliseconds(5), absl::Seconds(3))
              : choices.Between(absl::Microseconds(100), absl::Milliseconds(5));
}

void Network::Call(const std::string& from, const std::string& to, std::function<void()> handle,
                   std::function<void()> on_failure) {
  if (IsCut(from, to) || Fails()) {
    return scheduler_.After(scheduler_.choices().Between(absl::Milliseconds(1), absl::Seconds(5)),
                            std::move(on_failure));
  }
  scheduler_.After(Latency(), std::move(handle));
}

void Network::Reply(const std::string& from, const std::string& to, std::function<void()> deliver,
                    std::function<void()> on_failure) {
  if (IsCut(from, to) || Fails()) {
    return scheduler_.After(absl::Seconds(5), std::move(on_failure));
  }
  scheduler_.After(Latency(), std::move(deliver));
}

}  // namespace nestor::simulation
