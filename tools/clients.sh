#!/usr/bin/env bash
# Installs the clients that tools/clients/requirements.txt pins into a virtual environment of their own:
#   tools/clients.sh FOLDER
# Says nothing and does nothing when FOLDER holds them already.
set -eu
folder=${1:?usage: tools/clients.sh FOLDER}
pins=$(cd "$(dirname "$0")" && pwd)/clients/requirements.txt
# Variables meant for the caller's own Python must not leak into the environment made here.
unset PYTHONHOME PYTHONPATH
stamp=$(python3 -V && cksum <"$pins")
if [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
# Another process may have done it while this one waited for the lock.
if [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
echo "preparing the clients for tests …"
# Not moved into place afterwards: a virtual environment knows its own path. The stamp comes last instead.
rm -rf "$folder"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! python3 -m venv "$folder" >"$log" 2>&1; then
  echo "error: Python cannot make virtual environments: apt-get install -y python3-venv" >&2
  exit 1
fi
if ! "$folder/bin/python" -m pip install --quiet --no-deps --only-binary=:all: --disable-pip-version-check \
  --requirement "$pins" >"$log" 2>&1; then
  reason=$(grep '^ERROR' "$log" | tail -n 1 || tail -n 1 "$log")
  echo "error: pip failed to install the clients for tests: check the network, or name a mirror in PIP_INDEX_URL ($reason)" >&2
  exit 1
fi
printf '%s\n' "$stamp" >"$folder/.stamp"
