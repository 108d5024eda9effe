#include "agent/shim/binding_record.h"

#include "agent/shim/failure.h"
#include "api/support/proto_time.h"

namespace nestor::agent {

std::optional<PageTable> BindingRecord::Wanted() const {
  if (absent || (held.has_value() && held->ending)) return std::nullopt;
  if (phase == BindingPhase::kCleared) return table;
  if (held.has_value()) return held->table;
  return std::nullopt;
}

void BindingRecord::Renew(const v1::DesiredBinding& desired) {
  generation = desired.generation();
  absent = absent || desired.absent();
  if (!absent) {
    table = TableOf(desired.page_table());
    required_instance = desired.vm_instance();
    allow_translation_gap = desired.allow_translation_gap();
  }
  phase = BindingPhase::kWaiting;
  attempts = 0;
  answer.Clear();
  end_reason.clear();
}

void BindingRecord::End(const std::string& reason) {
  if (held.has_value()) held->ending = true;
  if (attempt.has_value()) attempt->ending = true;
  phase = BindingPhase::kFinal;
  if (end_reason.empty()) end_reason = reason;
}

BindingKey KeyOf(const v1::DesiredBinding& desired) {
  return {.device = desired.device(), .pasid = desired.pasid()};
}

PageTable TableOf(const v1::PageTable& table) {
  return {.format = static_cast<PageTableFormat>(table.format()),
          .root = table.root(),
          .address_width = table.address_width(),
          .supervisor_request = table.supervisor_request(),
          .extended_access_flag = table.extended_access_flag()};
}

v1::PageTable ToMessage(const PageTable& table) {
  v1::PageTable message;
  message.set_format(static_cast<v1::PageTable::Format>(table.format));
  message.set_root(table.root);
  message.set_address_width(table.address_width);
  message.set_supervisor_request(table.supervisor_request);
  message.set_extended_access_flag(table.extended_access_flag);
  return message;
}

v1::Result MakeResult(const BindingRecord& record, int64_t generation, v1::Result::Outcome outcome,
                      absl::Time now) {
  v1::Result result;
  result.set_uid(record.uid);
  result.set_generation(generation);
  result.set_outcome(outcome);
  result.set_attempts(record.attempts);
  *result.mutable_time() = ToTimestamp(now);
  if (record.held.has_value()) {
    result.set_device(record.key.device);
    result.set_pasid(record.key.pasid);
    result.set_programmed_root(record.held->table.root);
    result.set_programmed_generation(record.held->generation);
    result.set_vm_instance(record.held->vm_instance);
  }
  return result;
}

}  // namespace nestor::agent
