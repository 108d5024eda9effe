// One change, as a line for people.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "nestor/v1/watch_service.pb.h"

namespace nestor::cli {

// The full name of the event's resource; empty where it has none.
std::string EventName(const v1::WatchResponse& event);

// "09:30:05.123  changed  binding  demo/web-1/sva-3  PROGRAMMED", without a newline. `event`
// is a PUT or DELETED; those of a snapshot are "present".
std::string EventLine(const v1::WatchResponse& event, bool in_snapshot, absl::Time now);

}  // namespace nestor::cli
