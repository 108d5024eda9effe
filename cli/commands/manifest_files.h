// Reads the manifests that -f names.
#pragma once

#include <CLI/App.hpp>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/manifest.h"

namespace nestor::cli {

// Adds -f to a command; `files` must outlive it.
CLI::Option* AddFileOption(CLI::App* command, std::vector<std::string>* files);

// The manifest in `paths`: files, `-` for `in`, and directories, which stand for the *.yaml,
// *.yml and *.json files directly in them, in order of name. Errors: INVALID_ARGUMENT for
// what cannot be read or understood, as ParseManifest.
absl::StatusOr<Manifest> ReadManifest(const std::vector<std::string>& paths, std::istream& in,
                                      absl::string_view project);

}  // namespace nestor::cli
