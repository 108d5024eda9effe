#!/usr/bin/env bash
# Builds the fuzzing targets of tests/fuzz and runs them.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/fuzz.sh [--seconds N] [TARGET...]

Runs each fuzzing target for N seconds, starting from its inputs in tests/fuzz/corpus and
from what earlier runs found, which stays in build/fuzz/corpus. Stops at the first input
that breaks a promise, and says where it lies and how to run it again. Needs clang.

  --seconds N  how long for each target (default: 10); 3600 for an hour
  TARGET       as in tests/fuzz/corpus (default: all)
  --help       this text

Exit code 0: nothing found. 1: found something. 2: wrong usage.
END
}

wrong_usage() {
  echo "fuzz: $*" >&2
  usage >&2
  exit 2
}

seconds=10
targets=()
while [ "$#" -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --seconds)
      seconds="${2-}"
      [[ "$seconds" =~ ^[1-9][0-9]*$ ]] || wrong_usage "--seconds needs a whole number above 0"
      shift ;;
    -*) wrong_usage "unknown option $1" ;;
    *)
      [ -d "tests/fuzz/corpus/$1" ] ||
        wrong_usage "no target $1; there are:" $(ls tests/fuzz/corpus)
      targets+=("$1") ;;
  esac
  shift
done
[ "${#targets[@]}" -gt 0 ] || mapfile -t targets < <(ls tests/fuzz/corpus)
command -v clang++ >/dev/null ||
  { echo "fuzz: there is no clang++; scripts/install-packages.sh --ci installs it" >&2; exit 1; }

scripts/build.sh fuzz "${targets[@]/#/fuzz_}"

artifacts="build/fuzz/artifacts"
mkdir -p "$artifacts"
for target in "${targets[@]}"; do
  corpus="build/fuzz/corpus/$target"
  mkdir -p "$corpus"
  log="build/fuzz/$target.log"
  if ! "build/fuzz/bin/fuzz_$target" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$artifacts/$target-" "$corpus" "tests/fuzz/corpus/$target" \
    </dev/null >"$log" 2>&1; then
    tail -n 60 "$log"
    input="$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)"
    cat <<END

fuzz: $target FAILED; the whole output is in $log
input:     $input
run again: build/fuzz/bin/fuzz_$target $input
mend it, and keep the input in tests/fuzz/corpus/$target/ under a name that says what it was
END
    exit 1
  fi
  runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  echo "fuzz: $target: $runs inputs, nothing found"
done
