#include "server/core/timeline.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/support/proto_time.h"
#include "api/support/resource_name.h"

namespace nestor::server {
namespace {

using Event = v1::TimelineEvent;

// Of a failure's message, so that a row stays small.
constexpr size_t kMostMessageBytes = 240;

Event::Kind KindOf(v1::PasidBindingStatus::State state) {
  switch (state) {
    case v1::PasidBindingStatus::STATE_PROGRAMMED:
      return Event::KIND_PROGRAMMED;
    case v1::PasidBindingStatus::STATE_FAILED:
      return Event::KIND_FAILED;
    case v1::PasidBindingStatus::STATE_NOT_PROGRAMMED:
      return Event::KIND_NOT_PROGRAMMED;
    default:
      return Event::KIND_UNSPECIFIED;
  }
}

bool IsRepeated(const Event& last, const Event& next) {
  return last.kind() == next.kind() && last.generation() == next.generation() &&
         last.reason() == next.reason();
}

void Add(Event event, TimelineEvents* events) {
  if (Event* last = events->empty() ? nullptr : &*events->rbegin();
      last != nullptr && last->generation() != 0 && IsRepeated(*last, event)) {
    last->set_count(std::max(1, last->count()) + 1);
    *last->mutable_last_time() = event.time();
    return;
  }
  *events->Add() = std::move(event);
  if (events->size() > kMostTimelineEvents) events->DeleteSubrange(0, 1);
}

// A prefix that ends between two characters of UTF-8.
std::string Shortened(const std::string& text) {
  if (text.size() <= kMostMessageBytes) return text;
  size_t end = kMostMessageBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

// What a binding's own row tells: its newest generation, and its deletion.
TimelineEvents EventsOfRow(const storage::v1::RowMetadata& metadata) {
  TimelineEvents events;
  Event& persisted = *events.Add();
  persisted.set_kind(Event::KIND_PERSISTED);
  persisted.set_generation(metadata.generation());
  *persisted.mutable_time() = metadata.update_time();
  if (metadata.has_delete_time()) {
    Event& deleting = *events.Add();
    deleting.set_kind(Event::KIND_DELETING);
    deleting.set_generation(metadata.generation());
    *deleting.mutable_time() = metadata.delete_time();
  }
  return events;
}

// When generations were persisted that have been overtaken: their answers tell how long they
// took.
void AddOvertakenGenerations(const TimelineEvents& observed, int64_t newest,
                             TimelineEvents* events) {
  std::set<int64_t> seen = {newest};
  for (const Event& event : observed) {
    if (!event.has_latency() || !seen.insert(event.generation()).second) continue;
    Event& persisted = *events->Add();
    persisted.set_kind(Event::KIND_PERSISTED);
    persisted.set_generation(event.generation());
    *persisted.mutable_time() =
        ToTimestamp(FromTimestamp(event.time()) - FromProtoDuration(event.latency()));
  }
}

std::string Words(const Event& event, const std::string& host) {
  const std::string why = event.reason().empty() ? "" : absl::StrCat(" (", event.reason(), ")");
  switch (event.kind()) {
    case Event::KIND_PERSISTED:
      return absl::StrCat("generation ", event.generation(), " was stored");
    case Event::KIND_PROGRAMMED:
      return absl::StrCat("the kernel of ", host, " walks the root of generation ",
                          event.generation());
    case Event::KIND_FAILED:
      return absl::StrCat("generation ", event.generation(), " could not be bound", why, ": ",
                          event.message());
    case Event::KIND_NOT_PROGRAMMED:
      return absl::StrCat("it is no longer bound", why, ": ", event.message());
    case Event::KIND_DELETING:
      return absl::StrCat("its deletion was asked for; ", host, " unbinds it first");
    case Event::KIND_HOST_CONNECTED:
      return absl::StrCat("the agent of ", host, " connected");
    case Event::KIND_HOST_REBOOTED:
      return absl::StrCat("the agent of ", host, " connected after its kernel was started anew: ",
                          "what was bound there is gone");
    case Event::KIND_HOST_SILENT:
      return absl::StrCat("the agent of ", host,
                          " fell silent: what its kernel holds is unknown, and nothing is freed");
    case Event::KIND_HOST_FENCED:
      return absl::StrCat(host, " was confirmed dead by ", event.message(),
                          "; nothing there counts any more");
    case Event::KIND_HOST_UNFENCED:
      return absl::StrCat("the agent of ", host,
                          " showed that it holds nothing, which lifted the fence");
    case Event::KIND_HOST_DRAINING:
      return absl::StrCat(event.message(), " began to empty ", host,
                          ": it takes nothing new, and what is there stays until it is moved");
    case Event::KIND_HOST_UNDRAINED:
      return absl::StrCat(event.message(), " let ", host, " take what is new again");
    case Event::KIND_MOVED:
      return absl::StrCat("its virtual machine was moved from ", event.message());
    case Event::KIND_RELEASED_BY_OLD_HOST:
      return absl::StrCat(event.message(), " has let go of it, so its new host may have it");
    default:
      return "";
  }
}

bool Earlier(const Event& a, const Event& b) {
  return FromTimestamp(a.time()) < FromTimestamp(b.time());
}

}  // namespace

void AddBindingEvent(const v1::PasidBindingStatus& status, absl::Time asked_for,
                     const SessionMoment& moment, TimelineEvents* events) {
  Event event;
  event.set_kind(KindOf(status.state()));
  if (event.kind() == Event::KIND_UNSPECIFIED) return;
  *event.mutable_time() = ToTimestamp(moment.time);
  event.set_generation(status.observed_generation());
  event.set_epoch(moment.epoch);
  if (event.kind() == Event::KIND_PROGRAMMED) {
    *event.mutable_latency() = ToProtoDuration(moment.time - asked_for);
  }
  event.set_reason(status.failure().reason());
  event.set_message(Shortened(status.failure().message()));
  Add(std::move(event), events);
}

void AddHostEvent(Event::Kind kind, const SessionMoment& moment, TimelineEvents* events,
                  const std::string& message) {
  Event event;
  event.set_kind(kind);
  *event.mutable_time() = ToTimestamp(moment.time);
  event.set_epoch(moment.epoch);
  event.set_message(Shortened(message));
  Add(std::move(event), events);
}

v1::TimelineEvent MoveEvent(const DepartureRecord& departure) {
  Event event;
  event.set_kind(Event::KIND_MOVED);
  *event.mutable_time() = departure.row.time();
  event.set_message(absl::StrCat("hosts/", departure.host, " to ", departure.row.to_host()));
  return event;
}

void AddReleaseEvents(const DepartureRecord& departure, absl::Time now, TimelineEvents* events) {
  Event released;
  released.set_kind(Event::KIND_RELEASED_BY_OLD_HOST);
  *released.mutable_time() = ToTimestamp(now);
  released.set_message(absl::StrCat("hosts/", departure.host));
  Add(MoveEvent(departure), events);
  Add(std::move(released), events);
}

v1::GetPasidBindingTimelineResponse Timeline(const View& view, absl::string_view name) {
  const PasidBindingRecord record = *view.FindPasidBinding(name);
  const storage::v1::RowMetadata& metadata = record.row.metadata();
  const std::string machine_name = PasidBindingName::Parse(name)->Parent().ToString();
  const VirtualMachineRecord* machine = view.FindVirtualMachine(machine_name);
  const HostRecord* host = machine == nullptr ? nullptr : view.FindHost(machine->host_id());
  TimelineEvents events = EventsOfRow(metadata);
  AddOvertakenGenerations(record.events, metadata.generation(), &events);
  for (const Event& event : record.events) *events.Add() = event;
  if (machine != nullptr) {
    for (const Event& event : machine->events) *events.Add() = event;
  }
  if (const DepartureRecord* departure = view.FindDeparture(machine_name)) {
    *events.Add() = MoveEvent(*departure);
  }
  if (host != nullptr) {
    for (const Event& event : host->events) {
      const bool is_since = FromTimestamp(event.time()) >= FromTimestamp(metadata.create_time());
      if (is_since) *events.Add() = event;
    }
  }
  std::stable_sort(events.begin(), events.end(), Earlier);
  events.DeleteSubrange(0, std::max(0, events.size() - kMostTimelineEvents));
  v1::GetPasidBindingTimelineResponse response;
  *response.mutable_events() = std::move(events);
  for (Event& event : *response.mutable_events()) {
    event.set_message(Words(event, machine == nullptr ? "its host" : machine->host()));
  }
  return response;
}

}  // namespace nestor::server
