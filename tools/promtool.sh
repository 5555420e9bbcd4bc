#!/usr/bin/env bash
# Checks deploy/monitoring with Prometheus' own tool, installed once: the configuration, the alerts, and their tests.
set -euo pipefail
version=v0.313.5
tool=$DOCBRAIN_HOME/tools/bin/promtool-$version
if [ ! -x "$tool" ]; then
  if ! command -v go >/dev/null; then
    echo "skipped: promtool is built with Go, which is not installed"
    exit 0
  fi
  echo "installing promtool $version (once, takes some minutes) …"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  # As a dependency: `go install` refuses a module that replaces others, as Prometheus does.
  (
    cd "$folder"
    go mod init promtool
    go get "github.com/prometheus/prometheus/cmd/promtool@$version"
    go build -trimpath -o promtool github.com/prometheus/prometheus/cmd/promtool
  ) >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
  mkdir -p "$(dirname "$tool")"
  mv "$folder/promtool" "$tool"
fi
cd "$(dirname "$0")/../deploy/monitoring"
"$tool" check config prometheus.yml
"$tool" test rules alerts.test.yml
