#!/usr/bin/env bash
# Configures and builds one preset; what is up to date is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/build.sh [PRESET [TARGET...]]

Builds into build/PRESET; programs land in build/PRESET/bin.

  PRESET  release (default), debug, asan, tsan or fuzz: see CMakePresets.json
  TARGET  what to build (default: everything)
END
}

case "${1-}" in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
preset="${1:-release}"
shift || true
directory="build/$preset"

# Lets ccache, where there is one, serve a clone at another path.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1

# ninja itself configures again when a CMakeLists.txt changes, but does not watch presets.
if [ ! -f "$directory/build.ninja" ] || [ CMakePresets.json -nt "$directory/build.ninja" ]; then
  cmake --preset "$preset"
fi
ninja -C "$directory" "$@"
