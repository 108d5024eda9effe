// Reads resources of any kind.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/commands/connection.h"
#include "cli/names.h"

namespace nestor::cli {

// Reads one resource by its full name. Errors: as the API's Get methods.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> GetResource(Connection& connection,
                                                                       Kind kind,
                                                                       const std::string& name);

// What to list.
struct ListQuery {
  Kind kind;
  // As in the API's List methods; unused for hosts.
  std::string parent;
  std::string filter;
};

// Calls `take` for each resource and `end_page` after each page, which says whether to go on:
// no more than one page is held. Errors: as the API's List methods.
absl::Status ListResources(Connection& connection, const ListQuery& query,
                           const std::function<void(const google::protobuf::Message&)>& take,
                           const std::function<bool()>& end_page);

}  // namespace nestor::cli
