// What a decision about intent comes to.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "server/store/store.h"

namespace nestor::server {

// Mints UUIDs for new resources.
using UidSource = std::function<std::string()>;

// A transaction that compares every key the decision relied on, and the reply to give once
// it is committed. In the reply the metadata.revision of what is written is 0 until
// StampRevision.
struct Decision {
  Transaction transaction;
  std::shared_ptr<google::protobuf::Message> reply;

  bool changes_nothing() const { return transaction.puts.empty() && transaction.deletes.empty(); }
};

// Sets the revision of every resource in `reply` (one of the API's replies) that has none
// yet, and of an ApplyVirtualMachineResponse.
void StampRevision(int64_t revision, google::protobuf::Message* reply);

// A stable 64-bit fingerprint (FNV-1a). Of a message: over its type and its deterministic
// serialization; makes etags, and tells a repeated request from another one.
uint64_t Fingerprint(absl::string_view bytes);
uint64_t Fingerprint(const google::protobuf::Message& message);

}  // namespace nestor::server
