#!/usr/bin/env bash
# Licences and sources of all dependencies (deny.toml). Installs cargo-deny once.
set -euo pipefail
version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -q "$version"; then
  echo "installing cargo-deny $version (once) …"
  cargo install --quiet --locked cargo-deny@$version
fi
cargo deny --all-features check --hide-inclusion-graph bans licenses sources
