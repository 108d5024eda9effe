// Reading the rows of the store.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "server/store/store.h"

namespace nestor::server {

// The row that the event put. DATA_LOSS: it does not parse.
template <typename Row>
absl::Status ParseRow(const StoreEvent& event, Row* row) {
  if (!row->ParseFromString(*event.value)) {
    return errors::StoreCorrupt("the data directory",
                                absl::StrCat("row ", event.key, " does not parse"));
  }
  return absl::OkStatus();
}

}  // namespace nestor::server
