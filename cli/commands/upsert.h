// "Create it, or update it, or leave it": what apply does to a single resource.
#pragma once

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/support/errors.h"
#include "cli/commands/connection.h"

namespace nestor::cli {

enum class UpsertOutcome { kCreated, kUpdated, kUnchanged };

template <typename Resource>
struct Upserted {
  UpsertOutcome outcome;
  // As it was before; empty where it was created.
  Resource before;
  // As stored.
  Resource resource;
};

// Whether storing `wanted` over `stored` would change nothing.
template <typename Resource>
bool SameIntent(const Resource& wanted, const Resource& stored) {
  const auto& wanted_labels = wanted.metadata().labels();
  const auto& stored_labels = stored.metadata().labels();
  return google::protobuf::util::MessageDifferencer::Equals(wanted.spec(), stored.spec()) &&
         wanted_labels.size() == stored_labels.size() &&
         std::all_of(wanted_labels.begin(), wanted_labels.end(), [&](const auto& label) {
           auto found = stored_labels.find(label.first);
           return found != stored_labels.end() && found->second == label.second;
         });
}

// Somebody else created or changed the resource between the read and the write.
inline bool LostRace(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return reason == "ALREADY_EXISTS" || reason == "ETAG_MISMATCH";
}

// `get(name)`, `create(resource)` and `update(resource)` are the API's methods, each giving
// StatusOr<Resource>. Errors: theirs.
template <typename Resource, typename Get, typename Create, typename Update>
absl::StatusOr<Upserted<Resource>> Upsert(Resource wanted, Get get, Create create, Update update) {
  constexpr int kAttempts = 3;
  absl::Status lost;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    absl::StatusOr<Resource> stored = get(wanted.name());
    if (!stored.ok() && !absl::IsNotFound(stored.status())) return stored.status();
    if (stored.ok() && SameIntent(wanted, *stored)) {
      return Upserted<Resource>{UpsertOutcome::kUnchanged, *stored, *stored};
    }
    const auto outcome = stored.ok() ? UpsertOutcome::kUpdated : UpsertOutcome::kCreated;
    wanted.mutable_metadata()->set_etag(stored.ok() ? stored->metadata().etag() : "");
    absl::StatusOr<Resource> written = stored.ok() ? update(wanted) : create(wanted);
    if (written.ok()) {
      return Upserted<Resource>{outcome, stored.ok() ? *std::move(stored) : Resource(),
                                *std::move(written)};
    }
    if (!LostRace(written.status())) return written.status();
    lost = written.status();
  }
  return lost;
}

}  // namespace nestor::cli
