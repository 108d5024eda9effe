#!/usr/bin/env bash
# Installs the packages of scripts/packages.txt that are missing; does nothing when all are
# there.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
Usage: scripts/install-packages.sh [--ci | --kernel]

Installs what building and testing need on Debian bookworm, from scripts/packages.txt.
Needs root or sudo only when a package is missing.

  --ci      also what .ci/run needs
  --kernel  that, and what building a kernel takes
  --help    this text
END
}

fail() {
  echo "install-packages: $*" >&2
  exit 1
}

# The names under one [group] heading of packages.txt.
group() {
  awk -v wanted="[$1]" '/^\[/ { inside = ($0 == wanted); next }
    inside && NF && !/^#/ { print $1 }' scripts/packages.txt
}

# What is installed, with what it provides: another package may stand in for one of ours.
installed() {
  dpkg-query -W -f='${db:Status-Status} ${Package}, ${Provides}\n' |
    sed -n -e 's/ ([^)]*)//g' -e 's/^installed //p' | tr -s ', ' '\n'
}

wanted="$(group build)"
case "${1-}" in
  "") ;;
  --ci) wanted+=$'\n'"$(group ci)" ;;
  --kernel) wanted+=$'\n'"$(group ci)"$'\n'"$(group kernel)" ;;
  --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  fail "this is no Debian machine: install the equivalents of scripts/packages.txt yourself"

missing="$(comm -23 <(sort -u <<<"$wanted") <(installed | sort -u))"
[ -n "$missing" ] || exit 0
echo "install-packages: installing" $missing

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail "run this as root, or install sudo"
  as_root=(sudo)
fi
apt_install() {
  # shellcheck disable=SC2086  # one word per package
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends $missing </dev/null
}
# A machine's package lists may be absent or too old: then, and only then, they are read anew.
if ! apt_install; then
  echo "install-packages: reading the package lists anew"
  "${as_root[@]}" apt-get update -q </dev/null
  apt_install || fail "could not install" $missing "(Debian bookworm is what Nestor is built on)"
fi
