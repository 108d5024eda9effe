// What happened to a binding and to its host: what is kept of it, and how it is told.
//
// Events are kept in the rows of what is observed, so that they cost no writes of their own and
// outlive restarts.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nestor/v1/pasid_binding_service.pb.h"
#include "nestor/v1/resources.pb.h"
#include "server/core/view.h"

namespace nestor::server {

using TimelineEvents = google::protobuf::RepeatedPtrField<v1::TimelineEvent>;

// The most that are kept, and told.
inline constexpr int kMostTimelineEvents = 50;

// When something was learned, and in which session of the host.
struct SessionMoment {
  absl::Time time;
  int64_t epoch = 0;
};

// `status` was observed of a binding whose generation of that status was asked for at
// `asked_for`. What happens again in a row is counted, not added. Nothing for a status that is
// no event, such as ACCEPTED.
void AddBindingEvent(const v1::PasidBindingStatus& status, absl::Time asked_for,
                     const SessionMoment& moment, TimelineEvents* events);
// `message` is who did it and why, where that was a person.
void AddHostEvent(v1::TimelineEvent::Kind kind, const SessionMoment& moment, TimelineEvents* events,
                  const std::string& message = "");

// A machine's move, told from what its old host has still to do.
v1::TimelineEvent MoveEvent(const DepartureRecord& departure);
// That, and that the old host has let go.
void AddReleaseEvents(const DepartureRecord& departure, absl::Time now, TimelineEvents* events);

// `name` is a binding of the view.
v1::GetPasidBindingTimelineResponse Timeline(const View& view, absl::string_view name);

}  // namespace nestor::server
