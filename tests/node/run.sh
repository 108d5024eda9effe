#!/usr/bin/env bash
# run.sh BUILD_DIRECTORY: installs examples/node-client there and runs its test. Exit code 77:
# skipped, since this machine has no Node.js or cannot install packages.
set -euo pipefail
source_directory="$(cd "$(dirname "$0")/../.." && pwd)"
build_directory="$(cd "$1" && pwd)"
work="$build_directory/node-client"

skip() {
  echo "SKIPPED: $*"
  exit 77
}

command -v node >/dev/null && command -v npm >/dev/null ||
  skip "there is no Node.js; install the package npm"

mkdir -p "$work"
cp "$source_directory"/{examples/node-client/*.{mjs,json},tests/node/*.mjs} "$work"
cd "$work"
# npm ci installs anew each time: not where what is installed is what the lockfile says.
if ! cmp -s package-lock.json installed-package-lock.json; then
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error ||
    skip "npm cannot install the client's packages here"
  cp package-lock.json installed-package-lock.json
fi

NESTOR_PROTOS="$source_directory/api" NESTOR_SERVER_PROGRAM="$build_directory/bin/nestor-server" \
  node --test node_client.test.mjs
