#include "cli/test_shell.h"

#include <sys/wait.h>

#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace nestor::cli {

ShellOutcome RunShell(const std::string& command) {
  const auto bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const std::string script =
      absl::StrCat("PATH=", bin.string(), ":$PATH; set -o pipefail; ", command);
  const std::string line =
      absl::StrCat("env -u NESTOR_SERVER -u NESTOR_INSECURE -u NESTOR_PROJECT bash -c '",
                   absl::StrReplaceAll(script, {{"'", "'\\''"}}), "'");
  FILE* pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return {-1, ""};
  std::string out;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, got);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

}  // namespace nestor::cli
