#include "server/reconcile/host_leases.h"

#include "api/support/errors.h"
#include "api/support/resource_name.h"

namespace nestor::server {

void HostLeases::Grant(const std::string& host, const std::string& session_id) {
  std::lock_guard lock(mutex_);
  leases_[host] = {session_id, clock_.Now()};
}

absl::Status HostLeases::Renew(const std::string& host, const std::string& session_id) {
  std::lock_guard lock(mutex_);
  auto it = leases_.find(host);
  if (it == leases_.end() || it->second.session_id != session_id) {
    return errors::NotSessionOwner(Printable(host));
  }
  it->second.renewed = clock_.Now();
  return absl::OkStatus();
}

std::optional<absl::Duration> HostLeases::Left(const std::string& host,
                                               const std::string& session_id) {
  std::lock_guard lock(mutex_);
  auto it = leases_.find(host);
  if (it == leases_.end() || it->second.session_id != session_id) return std::nullopt;
  const absl::Duration left = it->second.renewed + ttl_ - clock_.Now();
  if (left > absl::ZeroDuration()) return left;
  leases_.erase(it);
  return absl::ZeroDuration();
}

bool HostLeases::IsHeld(const std::string& host) const {
  std::lock_guard lock(mutex_);
  return leases_.contains(host);
}

}  // namespace nestor::server
