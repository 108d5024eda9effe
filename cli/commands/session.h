// What every command of one run of nestorctl shares.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/support/tls_credentials.h"
#include "cli/commands/connection.h"
#include "cli/error_text.h"
#include "cli/exit_code.h"
#include "cli/resource_printer.h"

namespace nestor::cli {

// Where a run reads and writes.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  // `err` is a terminal, so progress may be redrawn.
  bool err_is_terminal;
  // Somebody who can be asked types into `in`.
  bool in_is_terminal = false;
};

// The options that every command has.
struct GlobalOptions {
  std::string server;
  TransportSecurity security;
  std::string timeout;
  std::string output = "table";
  std::string project = "default";
};

class Session {
 public:
  explicit Session(Console console) : console_(console) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Adds the global options to the program's parser, which fills them.
  void AddGlobalOptions(CLI::App* app);

  // The name of the command that runs, for messages.
  void SetCommand(absl::string_view name) { command_ = std::string(name); }

  // The connection that the options name. INVALID_ARGUMENT where they cannot be used.
  absl::StatusOr<std::unique_ptr<Connection>> Connect() const;
  // The same to another address.
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& server) const;

  // --timeout, or `otherwise`.
  absl::Duration Timeout(absl::Duration otherwise) const;
  // -o.
  OutputFormat output() const { return *ParseOutputFormat(options_.output); }
  const std::string& project() const { return options_.project; }
  const std::string& server() const { return options_.server; }

  std::istream& in() const { return console_.in; }
  std::ostream& out() const { return console_.out; }
  std::ostream& err() const { return console_.err; }
  bool err_is_terminal() const { return console_.err_is_terminal; }
  bool in_is_terminal() const { return console_.in_is_terminal; }

  // Reports what the command line has wrong, and which help to read.
  ExitCode UsageError(const absl::Status& status) const;
  // Reports what a manifest has wrong.
  ExitCode ManifestError(const absl::Status& status) const;
  // Reports a failed call to --server; `action` as for ErrorText.
  ExitCode CallError(absl::string_view action, const absl::Status& status,
                     const FieldLocator& locate = nullptr) const;
  // The same of a call to the server at another address.
  ExitCode CallErrorOf(const std::string& server, absl::string_view action,
                       const absl::Status& status) const;

 private:
  const Console console_;
  std::string command_;
  GlobalOptions options_;
};

// What the command line chose to do. A command's parser sets it; it is run afterwards.
using ChosenCommand = std::function<ExitCode()>;

}  // namespace nestor::cli
