// What a host should hold, read from the view.
#pragma once

#include "absl/strings/string_view.h"
#include "server/core/host_decision.h"
#include "server/core/view.h"

namespace nestor::server {

// All that is intended for a host (id): nothing while it is fenced.
HostIntent IntentOfHost(const View& view, absl::string_view host);
// That what the host holds goes.
HostIntent ReleaseIntent(const v1::Hello& hello);

// Adds what is to be told of one resource; nothing where it does not exist or its host is
// fenced. A virtual machine
// that is being deleted is told to go only when its last binding is gone.
void AddVirtualMachineIntent(const View& view, absl::string_view name, HostIntent* intent);
void AddPasidBindingIntent(const View& view, absl::string_view name, HostIntent* intent);

// Adds what is to be told because `change`, of a machine's or binding's intent, happened.
void AddIntentOfChange(const View& view, const StateChange& change, HostIntent* intent);

// The id of the host on which a virtual machine or binding is; empty where it does not exist.
std::string HostOfResource(const View& view, absl::string_view name);

}  // namespace nestor::server
