#include "server/service/watch_call.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/support/errors.h"
#include "api/support/grpc_status.h"
#include "api/support/status_macros.h"
#include "server/core/validation.h"

namespace nestor::server {
namespace {

std::optional<v1::WatchRequest::Kind> KindOf(ResourceKind kind) {
  switch (kind) {
    case ResourceKind::kHost:
      return v1::WatchRequest::KIND_HOST;
    case ResourceKind::kVirtualMachine:
      return v1::WatchRequest::KIND_VIRTUAL_MACHINE;
    case ResourceKind::kPasidBinding:
      return v1::WatchRequest::KIND_PASID_BINDING;
    case ResourceKind::kDevice:
      break;
  }
  return std::nullopt;
}

absl::Status Stopping() { return errors::Unavailable("the server is stopping", absl::Seconds(1)); }

template <typename Resource>
void FillDeleted(const StateChange& change, Resource* resource) {
  resource->set_name(change.name);
  resource->mutable_metadata()->set_uid(change.uid);
  resource->mutable_metadata()->set_revision(change.revision);
}

void RenderDeleted(const StateChange& change, v1::WatchResponse* message) {
  message->set_type(v1::WatchResponse::TYPE_DELETED);
  if (change.kind == ResourceKind::kHost) {
    FillDeleted(change, message->mutable_host());
  } else if (change.kind == ResourceKind::kVirtualMachine) {
    FillDeleted(change, message->mutable_virtual_machine());
  } else {
    FillDeleted(change, message->mutable_pasid_binding());
  }
}

// Whether `name` is `parent` or below it; everything is below the empty one.
bool IsUnder(absl::string_view name, absl::string_view parent) {
  return parent.empty() || name == parent || absl::StartsWith(name, absl::StrCat(parent, "/"));
}

// The first name after `last` (empty: the first of all) that is under `parent`; empty at the
// end.
template <typename Records>
std::string NextUnder(const Records& records, const std::string& parent, const std::string& last) {
  auto it = last.empty() ? records.lower_bound(parent) : records.upper_bound(last);
  for (; it != records.end() && absl::StartsWith(it->first, parent); ++it) {
    if (IsUnder(it->first, parent)) return it->first;
  }
  return "";
}

std::string NextBindingUnder(const BindingTable& bindings, const std::string& parent,
                             const std::string& last) {
  std::string next;
  bindings.Visit(last.empty() ? parent : last + '\0', [&](const std::string& name, auto) {
    if (IsUnder(name, parent)) next = name;
    return next.empty() && absl::StartsWith(name, parent);
  });
  return next;
}

// The same for the resources of a kind. Hosts are under no project.
std::string NextName(const View& view, ResourceKind kind, const std::string& parent,
                     const std::string& last) {
  if (kind == ResourceKind::kVirtualMachine) {
    return NextUnder(view.virtual_machines(), parent, last);
  }
  if (kind == ResourceKind::kPasidBinding) {
    return NextBindingUnder(view.pasid_bindings(), parent, last);
  }
  if (!parent.empty()) return "";
  const std::string id =
      NextUnder(view.hosts(), "", std::string(absl::StripPrefix(last, "hosts/")));
  return id.empty() ? "" : absl::StrCat("hosts/", id);
}

}  // namespace

WatchCall* WatchCall::Start(const Sources& sources, const Caller& caller,
                            const v1::WatchRequest& request) {
  std::shared_ptr<WatchCall> call(new WatchCall(sources, request));
  call->self_ = call;
  if (absl::Status status = call->Begin(caller); !status.ok()) {
    call->End(status);
    return call.get();
  }
  call->ArmBookmark();
  call->Advance();
  return call.get();
}

absl::Status WatchCall::Begin(const Caller& caller) {
  RETURN_IF_ERROR(CheckClient(caller));
  RETURN_IF_ERROR(Validate(request_));
  const std::weak_ptr<WatchCall> weak = self_;
  ticket_ = sources_.parked.Add([weak] {
    if (auto held = weak.lock()) held->End(Stopping());
  });
  if (ticket_ == 0) return Stopping();
  // First of all, so that no change goes by unnoticed.
  subscription_ = sources_.state.Subscribe([weak](const std::vector<StateChange>&) {
    if (auto held = weak.lock()) held->Advance();
  });
  std::lock_guard lock(mutex_);
  if (request_.resume_token().empty()) {
    // In this order: what changes in between is told twice rather than never.
    sequence_ = sources_.history.end();
    shown_by_snapshot_ = sources_.state.HeadRevision();
    position_ = {shown_by_snapshot_, WatchPosition::kWholeRevision};
  } else {
    ASSIGN_OR_RETURN(position_, sources_.history.ParseToken(request_.resume_token()));
    ASSIGN_OR_RETURN(sequence_, sources_.history.FindAfter(position_));
    synced_ = true;
  }
  begun_ = true;
  return absl::OkStatus();
}

bool WatchCall::WantsKind(ResourceKind kind) const {
  const auto wanted = KindOf(kind);
  const auto& kinds = request_.kinds();
  return wanted && std::find(kinds.begin(), kinds.end(), *wanted) != kinds.end();
}

void WatchCall::Advance() {
  absl::Status failed;
  {
    std::lock_guard lock(mutex_);
    if (!begun_ || writing_ || finished_) return;
    const absl::StatusOr<bool> next = NextMessage();
    failed = next.status();
    if (next.ok() && *next) {
      writing_ = true;
      StartWrite(&message_);
    }
  }
  if (!failed.ok()) End(failed);
}

absl::StatusOr<bool> WatchCall::NextMessage() {
  message_.Clear();
  if (!synced_) {
    bool found = false;
    sources_.state.Read([&](const View& view) { found = NextOfSnapshot(view); });
    if (found) return true;
    synced_ = true;
    message_.set_type(v1::WatchResponse::TYPE_SYNCED);
    message_.set_resume_token(sources_.history.MakeToken(position_));
    return true;
  }
  ASSIGN_OR_RETURN(const bool changed, NextChange());
  if (changed || !bookmark_due_) return changed;
  bookmark_due_ = false;
  message_.set_type(v1::WatchResponse::TYPE_BOOKMARK);
  message_.set_resume_token(sources_.history.MakeToken(position_));
  return true;
}

bool WatchCall::NextOfSnapshot(const View& view) {
  constexpr ResourceKind kOrder[] = {ResourceKind::kHost, ResourceKind::kVirtualMachine,
                                     ResourceKind::kPasidBinding};
  for (const ResourceKind kind : kOrder) {
    if (kind < snapshot_kind_) continue;
    if (kind > snapshot_kind_) snapshot_name_.clear();
    snapshot_kind_ = kind;
    if (!WantsKind(kind)) continue;
    while (true) {
      std::string name = NextName(view, kind, request_.parent(), snapshot_name_);
      if (name.empty()) break;
      snapshot_name_ = std::move(name);
      if (Render(view, kind, snapshot_name_)) return true;
    }
  }
  return false;
}

absl::StatusOr<bool> WatchCall::NextChange() {
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<HistoryEntry> entry, sources_.history.Get(sequence_));
    if (!entry) return false;
    ++sequence_;
    const StateChange& change = entry->change;
    if (change.revision <= shown_by_snapshot_) continue;
    position_ = entry->position;
    if (!WantsKind(change.kind) || !IsUnder(change.name, request_.parent())) continue;
    bool tells = change.deleted;
    if (change.deleted) {
      RenderDeleted(change, &message_);
    } else {
      sources_.state.Read(
          [&](const View& view) { tells = Render(view, change.kind, change.name); });
    }
    if (!tells) continue;  // it is gone by now: its deletion follows
    message_.set_resume_token(sources_.history.MakeToken(position_));
    return true;
  }
}

bool WatchCall::Render(const View& view, ResourceKind kind, absl::string_view name) {
  message_.Clear();
  if (kind == ResourceKind::kHost) {
    const absl::string_view id = absl::StripPrefix(name, "hosts/");
    if (view.FindHost(id) == nullptr) return false;
    *message_.mutable_host() = view.HostResource(id);
  } else if (kind == ResourceKind::kVirtualMachine) {
    if (view.FindVirtualMachine(name) == nullptr) return false;
    *message_.mutable_virtual_machine() = view.VirtualMachineResource(name);
  } else {
    *message_.mutable_pasid_binding() = view.PasidBindingResource(name);
    if (message_.pasid_binding().name().empty()) return false;
  }
  message_.set_type(v1::WatchResponse::TYPE_PUT);
  return true;
}

void WatchCall::ArmBookmark() {
  const std::weak_ptr<WatchCall> weak = self_;
  std::lock_guard lock(mutex_);
  if (finished_) return;
  // A new one each time: the old one may be the caller.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(
      std::chrono::system_clock::now() + absl::ToChronoMicroseconds(sources_.bookmark_interval),
      [weak](bool expired) {
        auto held = weak.lock();
        if (!held || !expired) return;
        {
          std::lock_guard inner(held->mutex_);
          held->bookmark_due_ = true;
        }
        held->Advance();
        held->ArmBookmark();
      });
}

void WatchCall::End(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  Finish(ToGrpcStatus(status));
}

void WatchCall::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
  }
  if (ok) {
    Advance();
  } else {
    End(absl::CancelledError("the watcher is gone"));
  }
}

void WatchCall::OnCancel() { End(absl::CancelledError("cancelled")); }

void WatchCall::OnDone() {
  sources_.parked.Remove(ticket_);
  // After this no listener runs; what may still hold a reference is an alarm.
  subscription_.reset();
  {
    std::lock_guard lock(mutex_);
    alarm_.reset();
  }
  auto last = std::move(self_);
}

}  // namespace nestor::server
