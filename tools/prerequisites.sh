#!/usr/bin/env bash
# Names each missing prerequisite in one line, with the command that installs it.
set -eu
missing=0
want() { # program, minimal version, how to ask for it, how to install it
  local version
  if ! command -v "$1" >/dev/null 2>&1; then
    echo "missing: $1; install it with: $4" >&2
    missing=1
    return
  fi
  version=$($3 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1)
  if [ "$(printf '%s\n%s\n' "$2" "$version" | sort -V | head -n 1)" != "$2" ]; then
    echo "too old: $1 $version, $2 is needed; install it with: $4" >&2
    missing=1
  fi
}
want cargo 1.95 "cargo --version" "curl https://sh.rustup.rs -sSf | sh, then rustup toolchain install 1.95.0"
want python3 3.10 "python3 --version" "sudo apt-get install python3 python3-venv"
want cc 8 "cc -dumpfullversion" "sudo apt-get install build-essential"
if command -v python3 >/dev/null 2>&1 && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo "missing: Python's venv; install it with: sudo apt-get install python3-venv" >&2
  missing=1
fi
exit "$missing"
