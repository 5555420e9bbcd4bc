#!/usr/bin/env bash
# Checks deploy/monitoring with Prometheus' own tool: the configuration, the alerts, and their tests. The tool is the one that is
# installed, or comes out of Debian's package, which is only unpacked, never installed; root is not needed.
set -euo pipefail
tool=$(command -v promtool || echo "$DOCBRAIN_HOME/tools/bin/promtool")
if [ ! -x "$tool" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "skipped: the alerts are not tested; install promtool (it comes with Prometheus)"
    exit 0
  fi
  echo "preparing promtool …"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  if ! (cd "$work" && apt-get download -qq prometheus >log 2>&1); then
    echo "skipped: the alerts are not tested; prometheus cannot be downloaded here (is apt-get update needed?)"
    exit 0
  fi
  dpkg-deb -x "$work"/prometheus_*.deb "$work/unpacked"
  mkdir -p "$(dirname "$tool")"
  mv "$work/unpacked/usr/bin/promtool" "$tool"
fi
cd "$(dirname "$0")/../deploy/monitoring"
"$tool" check config prometheus.yml
"$tool" test rules alerts.test.yml
