#!/usr/bin/env bash
# built_kernel.sh SUITE DIRECTORY: builds the newest kernel source of a Debian suite with
# kernel.config.
#
# Leaves in DIRECTORY: vmlinuz, config, version. Downloads 170 MB, takes 2 GB of disk meanwhile,
# and minutes of processor time at the lowest priority.
set -euo pipefail
suite="$1" directory="$2"
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/debian_packages.sh"

work="$(mktemp -d "${TMPDIR:-/var/tmp}/nestor-kernel-XXXXXX")"
trap 'rm -rf "$work"' EXIT

debian_suite "$suite" "$work/apt"
package="$(apt-cache depends --important linux-source | sed -n 's/^ *Depends: *\(linux-source-.*\)/\1/p')"
[ -n "$package" ] || { echo "$suite has no linux-source" >&2; exit 1; }
debian_unpack "$work/package" "$package"
mkdir "$work/source"
tar --extract --xz --strip-components=1 --directory "$work/source" \
  --file "$work/package/usr/src/$package.tar.xz"
rm -r "$work/package"

cd "$work/source"
make --silent KCONFIG_ALLCONFIG="$here/kernel.config" allnoconfig
# An option that this source does not know, or whose needs are not met, is left out silently.
missing="$(grep '^CONFIG_' "$here/kernel.config" | grep -vxFf .config || true)"
[ -z "$missing" ] || echo "not in this kernel: $missing"
echo "building Linux $(make --silent kernelversion)"
nice -n 19 make --silent --jobs="$(nproc)" bzImage

mkdir "$work/kernel"
cp arch/x86/boot/bzImage "$work/kernel/vmlinuz"
cp .config "$work/kernel/config"
make --silent kernelrelease >"$work/kernel/version"
mkdir -p "$(dirname "$directory")"
rm -rf "$directory"
mv "$work/kernel" "$directory"
