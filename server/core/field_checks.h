// The checks of single fields that requests share. Each adds what is wrong to `violations`,
// under the path `field` (or paths below it).
#pragma once

#include <google/protobuf/field_mask.pb.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "api/support/errors.h"
#include "nestor/v1/resources.pb.h"
#include "server/core/filter.h"

namespace nestor::server {

// `parsed` is the status of parsing the name.
void CheckName(const absl::Status& parsed, const FieldPath& field, FieldViolations* violations);
// Empty, or a UUID.
void CheckRequestId(const std::string& request_id, FieldViolations* violations);
void CheckEtag(const std::string& etag, const FieldPath& field, FieldViolations* violations);
// What a person gives as the reason for an act: must be there, and can be shown as it is.
void CheckEvidence(const std::string& evidence, const FieldPath& field,
                   FieldViolations* violations);
void CheckMask(const google::protobuf::FieldMask& mask,
               const std::vector<absl::string_view>& allowed, FieldViolations* violations);
// page_size, page_token and filter of a list.
void CheckPage(int32_t page_size, const std::string& page_token, const std::string& filter,
               const FilterKeys& keys, FieldViolations* violations);

void CheckHost(const v1::Host& host, FieldViolations* violations);
// `whole`: it is created, so all that is required must be there; else what is given counts.
void CheckVirtualMachine(const v1::VirtualMachine& machine, bool whole,
                         FieldViolations* violations);
void CheckPasidBinding(const v1::PasidBinding& binding, const FieldPath& path, bool whole,
                       FieldViolations* violations);
void CheckPageTable(const v1::PageTable& table, const FieldPath& path, FieldViolations* violations);

}  // namespace nestor::server
