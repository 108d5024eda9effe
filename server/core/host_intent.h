// What a host should hold, read from the view.
#pragma once

#include "absl/strings/string_view.h"
#include "server/core/host_decision.h"
#include "server/core/view.h"

namespace nestor::server {

// All that is intended for a host (id): nothing while it is fenced.
HostIntent IntentOfHost(const View& view, absl::string_view host);
// Adds that a machine goes from the host that it was moved away from; nothing where none has
// still to let go.
void AddDepartureIntent(const View& view, absl::string_view machine, HostIntent* intent);
// That what the host holds goes.
HostIntent ReleaseIntent(const v1::Hello& hello);

// Adds what is to be told of one resource; nothing where it does not exist, its host is
// fenced, or the host that it left has not let go. A virtual machine
// that is being deleted is told to go only when its last binding is gone.
void AddVirtualMachineIntent(const View& view, absl::string_view name, HostIntent* intent);
void AddPasidBindingIntent(const View& view, absl::string_view name, HostIntent* intent);

// Adds what is to be told because `change`, of a machine's or binding's intent, happened.
void AddIntentOfChange(const View& view, const StateChange& change, HostIntent* intent);

// The id of the host on which a virtual machine or binding is; empty where it does not exist.
std::string HostOfResource(const View& view, absl::string_view name);
// The id of the host that has still to let go of the machine of that name; empty: none has.
std::string HostLeftBy(const View& view, absl::string_view machine);

}  // namespace nestor::server
