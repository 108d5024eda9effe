# Sourced by scripts of this folder: packages of any Debian suite, unpacked and never
# installed. The mirror is the one that this machine's own apt uses.

# The root of the archive that this machine gets its release from; nothing where there is none.
debian_mirror() {
  local codename
  codename="$(. /etc/os-release && echo "${VERSION_CODENAME-}")"
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="$codename" '$1 == release && $2 == "main" { print $3; exit }'
}

# debian_suite SUITE DIRECTORY: reads the package lists of a suite into DIRECTORY; from then on
# apt-get and apt-cache know that suite alone, and no package as installed.
debian_suite() {
  local suite="$1" state="$2" mirror
  mirror="$(debian_mirror)"
  [ -n "$mirror" ] || { echo "apt names no Debian mirror" >&2; return 1; }
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  : >"$state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
    >"$state/sources.list"
  cat >"$state/apt.conf" <<END
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$state/lists";
Dir::State::Status "$state/status";
Dir::Cache "$state";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
APT::Sandbox::User "$(id -un)";
APT::Update::Error-Mode "any";
END
  export APT_CONFIG="$state/apt.conf"
  apt-get update -q
}

# debian_unpack DIRECTORY PACKAGE...: downloads packages and unpacks them there.
debian_unpack() {
  local root="$1" archives package
  shift
  mkdir -p "$root"
  archives="$(mktemp -d)"
  (cd "$archives" && apt-get download -q "$@") || { rm -r "$archives"; return 1; }
  for package in "$archives"/*.deb; do
    dpkg-deb --extract "$package" "$root"
  done
  rm -r "$archives"
}
