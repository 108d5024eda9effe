#!/usr/bin/env bash
# A cluster of real processes under faults, and what it lost: nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/chaos.sh [--preset NAME] [NESTOR_CHAOS_OPTION...]

Builds what it needs and runs, on this machine alone, a server, agents, shims, simulated kernels
and guests that DMA all the time, while clients change bindings and one fault follows the other
(docs/chaos.md). Ends with the faults injected, the intents acknowledged and lost, and the DMAs
that failed. Exit code 0: nothing was lost, no DMA failed, and all became as intended.

  --preset NAME        release (default) or debug
  NESTOR_CHAOS_OPTION  --seconds N (default: 60), --seed N, --hosts N, --no-full-disk
  --help               this text
END
}

preset=release
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --preset) preset="${2:?--preset needs a name}"; shift 2 ;;
    *) break ;;
  esac
done

scripts/install-packages.sh
scripts/build.sh "$preset" nestor-chaos
"build/$preset/bin/nestor-chaos" "$@"
