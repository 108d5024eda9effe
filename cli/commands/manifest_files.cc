#include "cli/commands/manifest_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/support/status_macros.h"
#include "cli/yaml_tree.h"

namespace nestor::cli {
namespace {

namespace fs = std::filesystem;

absl::Status Unreadable(absl::string_view path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("cannot read ", path, ": ", why));
}

// One byte more than allowed is enough for the parser to refuse the rest.
std::string ReadBounded(std::istream& in) {
  std::string text(kMaxYamlBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

absl::StatusOr<ManifestSource> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Unreadable(path, std::strerror(errno));
  ManifestSource source{path, ReadBounded(file)};
  if (file.bad()) return Unreadable(path, std::strerror(errno));
  return source;
}

absl::StatusOr<std::vector<std::string>> ManifestsIn(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path extension = entry->path().extension();
    const bool manifest = extension == ".yaml" || extension == ".yml" || extension == ".json";
    if (manifest && entry->is_regular_file(error)) files.push_back(entry->path().string());
  }
  if (error) return Unreadable(directory, error.message());
  if (files.empty()) return Unreadable(directory, "it has no *.yaml, *.yml or *.json file");
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

CLI::Option* AddFileOption(CLI::App* command, std::vector<std::string>* files) {
  return command->add_option("-f,--file", *files, "Manifest file, directory, or - for stdin")
      ->type_name("FILE")
      ->allow_extra_args(false);
}

absl::StatusOr<Manifest> ReadManifest(const std::vector<std::string>& paths, std::istream& in,
                                      absl::string_view project) {
  std::vector<ManifestSource> sources;
  for (const std::string& path : paths) {
    std::error_code error;
    if (path == "-") {
      sources.push_back({"<stdin>", ReadBounded(in)});
    } else if (fs::is_directory(path, error)) {
      ASSIGN_OR_RETURN(const auto files, ManifestsIn(path));
      for (const std::string& file : files) {
        ASSIGN_OR_RETURN(ManifestSource source, ReadFile(file));
        sources.push_back(std::move(source));
      }
    } else {
      ASSIGN_OR_RETURN(ManifestSource source, ReadFile(path));
      sources.push_back(std::move(source));
    }
  }
  return ParseManifest(sources, project);
}

}  // namespace nestor::cli
