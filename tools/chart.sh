#!/usr/bin/env bash
# The chart charts/docbrain:
#   tools/chart.sh copy FOLDER   writes what it has from other folders (CRDs, alerts, dashboard) into FOLDER
#   tools/chart.sh check         lints it, renders it with each file of ci/, and runs its unit tests;
#                                UPDATE=1 takes the snapshots anew
# helm and helm-unittest are built once, with Go; without Go, the checks are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
chart=charts/docbrain
helm_version=v4.3.1
unittest_version=v1.1.2
home=${DOCBRAIN_HOME:-/var/lib/docbrain}
bin=$home/tools/bin
clusters=$home/tools/kube/bin

copy() { # folder
  mkdir -p "$1/crds" "$1/monitoring"
  rm -f "$1"/crds/* "$1"/monitoring/*
  cp crds/generated/*.yaml "$1/crds/"
  cp deploy/monitoring/alerts.yml deploy/monitoring/grafana-dashboard.json "$1/monitoring/"
}

build() { # name, version, package, more for `go mod edit`; prints where it is
  local name=$1 version=$2 package=$3 target=$bin/$1-$2 folder
  shift 3
  # The test cluster may have built the same one.
  if [ ! -x "$target" ] && grep -qsw -- "$version" "$clusters/.$name.stamp" && [ -x "$clusters/$name" ]; then
    target=$clusters/$name
  fi
  if [ ! -x "$target" ]; then
    if ! command -v go >/dev/null; then
      echo "skipped: $name is built with Go, which is not installed" >&2
      exit 3
    fi
    echo "building $name $version (once, takes a minute or more) …" >&2
    folder=$(mktemp -d)
    # As a dependency: `go install` refuses a module that replaces others, as helm-unittest does.
    if ! (
      cd "$folder" &&
        go mod init build &&
        { [ $# = 0 ] || go mod edit "$@"; } &&
        go get "$package@$version" &&
        CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$name" "$package"
    ) >"$folder/log" 2>&1; then
      cat "$folder/log" >&2
      exit 1
    fi
    mkdir -p "$bin"
    mv "$folder/$name" "$target"
    rm -rf "$folder"
  fi
  echo "$target"
}

check() {
  local helm unittest values
  helm=$(build helm $helm_version helm.sh/helm/v4/cmd/helm) || exit $(($? == 3 ? 0 : 1))
  unittest=$(build helm-unittest $unittest_version github.com/helm-unittest/helm-unittest/cmd/helm-unittest \
    -replace github.com/vmware-labs/yaml-jsonpath=github.com/helm-unittest/yaml-jsonpath@v0.4.0) || exit $(($? == 3 ? 0 : 1))
  rendered=$(mktemp -d)
  trap 'rm -rf "$rendered"' EXIT
  # Nothing of the user's own helm.
  export HELM_CACHE_HOME=$rendered/cache HELM_CONFIG_HOME=$rendered/config HELM_DATA_HOME=$rendered/data
  for values in $chart/ci/*.yaml deploy/*/values.yaml; do
    if ! "$helm" lint --strict --quiet --namespace docbrain --values "$values" $chart >"$rendered/log" 2>&1 ||
      ! "$helm" template docbrain $chart --namespace docbrain --values "$values" >"$rendered/out.yaml" 2>"$rendered/log"; then
      echo "$values:" >&2
      cat "$rendered/log" >&2
      exit 1
    fi
  done
  "$unittest" --strict ${UPDATE:+--update-snapshot} $chart
}

case ${1:-} in
copy) copy "${2:?usage: tools/chart.sh copy FOLDER}" ;;
check) check ;;
*)
  echo "usage: tools/chart.sh copy FOLDER | check" >&2
  exit 2
  ;;
esac
