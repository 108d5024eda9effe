#!/usr/bin/env bash
# Builds the release preset and prints Nestor's figures beside those of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/bench.sh [--disk DIRECTORY] [NESTOR_BENCH_OPTION...]

Builds the release preset, measures for about three minutes, prints a table and writes
build/bench.json. Figures mean something only beside the floors of the same run, and only
while nothing else runs.

  --disk DIRECTORY      where the data goes while measuring (default: build/)
  NESTOR_BENCH_OPTION   e.g. --seconds 1 --bindings 100000 for a quick look
  --help                this text

etcd is compared with where it is installed (Debian: etcd-server).
END
}

disk=build
case "${1-}" in
  -h | --help) usage; exit 0 ;;
  --disk) disk="${2:?--disk needs a directory}"; shift 2 ;;
esac

scripts/install-packages.sh
scripts/build.sh release nestor-bench
directory="$(mktemp -d "$disk/bench-XXXXXX")"
trap 'rm -rf "$directory"' EXIT
build/release/bin/nestor-bench --directory "$directory" --json build/bench.json "$@"
