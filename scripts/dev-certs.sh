#!/usr/bin/env bash
# Certificates for trying Nestor with TLS and for its tests: a certificate authority, and what
# it signed for a server, agents, projects and people. Not for production: the key of the
# authority lies beside them.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: scripts/dev-certs.sh DIR [option...]

Makes DIR/NAME/{tls.crt,tls.key,ca.crt} for each of these names:

  server                  for nestor-server
  agent-HOST              for the nestor-agent of each --host
  project-ID-writer       for clients of each --project
  project-ID-reader
  operator, auditor       for the people who run it
  ca                      the authority itself: tls.crt and tls.key

Running it again keeps what is there and adds what is missing. Each DIR/NAME is a symbolic link
that changes in one step, so that a running program never reads half of a renewed pair.

  --host HOST            an agent of hosts/HOST; may be repeated (default: host-a)
  --project ID           a project; may be repeated (default: demo)
  --server-name NAME     a DNS name or IP address of the server besides localhost, 127.0.0.1
                         and ::1; may be repeated
  --trust-domain DOMAIN  of the identities spiffe://DOMAIN/... (default: nestor.local)
  --days N               how long what is made now is valid; 1 for a short-lived one, a negative
                         number for one that has expired (default: 30; the authority: 3650)
  --renew NAME           make NAME again although it is there, with a new key; may be repeated;
                         ca: all of them
  --help                 this text
USAGE
}

dir="" domain=nestor.local days=30
hosts=() projects=() names=() renewed=()
while [ $# -gt 0 ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --host | --project | --server-name | --trust-domain | --days | --renew)
      [ $# -ge 2 ] || { echo "dev-certs: $1 needs a value" >&2; exit 2; }
      case "$1" in
        --host) hosts+=("$2") ;;
        --project) projects+=("$2") ;;
        --server-name) names+=("$2") ;;
        --trust-domain) domain="$2" ;;
        --days) days="$2" ;;
        --renew) renewed+=("$2") ;;
      esac
      shift ;;
    -*) echo "dev-certs: unknown option $1" >&2; usage >&2; exit 2 ;;
    *)
      [ -z "$dir" ] || { echo "dev-certs: one DIR, not $dir and $1" >&2; exit 2; }
      dir="$1" ;;
  esac
  shift
done
[ -n "$dir" ] || { usage >&2; exit 2; }
[[ "$days" =~ ^-?[0-9]+$ ]] || { echo "dev-certs: --days $days is no number" >&2; exit 2; }
[ ${#hosts[@]} -gt 0 ] || hosts=(host-a)
[ ${#projects[@]} -gt 0 ] || projects=(demo)
command -v openssl >/dev/null || { echo "dev-certs: install the package openssl" >&2; exit 1; }

umask 077
mkdir -p "$dir/versions"

# openssl with its chatter shown only when it fails.
quietly() {
  local output
  output="$("$@" 2>&1)" || { echo "dev-certs: $* failed:" >&2; echo "$output" >&2; exit 1; }
}
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

# wanted NAME: whether it is to be made.
wanted() {
  [ -e "$dir/$1" ] || return 0
  [[ " ${renewed[*]} " == *" $1 "* || " ${renewed[*]} " == *" ca "* ]]
}

# publish NAME VERSION: DIR/NAME becomes this version; the one before goes.
publish() {
  local before
  before="$(readlink "$dir/$1" || true)"
  ln -s "versions/$2" "$dir/versions/$2.link"
  mv -T "$dir/versions/$2.link" "$dir/$1"
  [ -z "$before" ] || rm -rf "${dir:?}/$before"
}

make_authority() {
  wanted ca || return 0
  local version
  version="$(basename "$(mktemp -d "$dir/versions/ca.XXXXXX")")"
  quietly openssl req -x509 "${new_key[@]}" -days 3650 -subj "/CN=Nestor development CA" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$dir/versions/$version/tls.key" -out "$dir/versions/$version/tls.crt"
  publish ca "$version"
}

# make NAME USAGE SAN
make() {
  wanted "$1" || return 0
  local version at
  version="$(basename "$(mktemp -d "$dir/versions/$1.XXXXXX")")"
  at="$dir/versions/$version"
  quietly openssl req -new "${new_key[@]}" -subj "/CN=$1" -keyout "$at/tls.key" -out "$at/csr"
  cat >"$at/extensions" <<EXTENSIONS
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = $2
subjectAltName = $3
EXTENSIONS
  quietly openssl x509 -req -in "$at/csr" -CA "$dir/ca/tls.crt" -CAkey "$dir/ca/tls.key" \
    -set_serial "0x$(openssl rand -hex 16)" -days "$days" -extfile "$at/extensions" \
    -out "$at/tls.crt"
  cp "$dir/ca/tls.crt" "$at/ca.crt"
  rm "$at/csr" "$at/extensions"
  publish "$1" "$version"
}

# An address and a name are different kinds of subject alternative names.
server_san="DNS:localhost,IP:127.0.0.1,IP:::1"
for name in "${names[@]}"; do
  if [[ "$name" =~ ^[0-9.]+$ || "$name" == *:* ]]; then
    server_san+=",IP:$name"
  else
    server_san+=",DNS:$name"
  fi
done

make_authority
make server serverAuth "$server_san"
for host in "${hosts[@]}"; do
  make "agent-$host" clientAuth "URI:spiffe://$domain/agent/$host"
done
for project in "${projects[@]}"; do
  for right in writer reader; do
    make "project-$project-$right" clientAuth "URI:spiffe://$domain/project/$project/$right"
  done
done
for person in operator auditor; do
  make "$person" clientAuth "URI:spiffe://$domain/$person"
done
