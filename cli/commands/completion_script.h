// Completion scripts for shells.
#pragma once

#include <string>

#include "cli/commands/completion_tree.h"

namespace nestor::cli {

// Each is a whole script for its shell to load, ending with a newline.
std::string BashCompletion(const CompletionTree& tree);
std::string ZshCompletion(const CompletionTree& tree);
std::string FishCompletion(const CompletionTree& tree);

}  // namespace nestor::cli
