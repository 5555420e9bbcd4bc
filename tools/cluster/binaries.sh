#!/usr/bin/env bash
# Builds the programs of a Kubernetes out of their Go modules, once for each version:
#   tools/cluster/binaries.sh [api|node]
# api: etcd, kube-apiserver, kube-controller-manager, kubectl, helm. node: also kube-scheduler, kubelet, kube-proxy, coredns.
# They come to $DOCBRAIN_HOME/tools/kube/bin. Says nothing and does nothing when they are there already.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
tier=${1:-api}
helm=v4.3.1

mkdir -p "$BIN"
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$TOOLS/kube/go.mod")
minor=${version#v1.}
identity="-X k8s.io/component-base/version.gitVersion=$version"
identity+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"

# A program is built again when what it is made from has changed.
program() { # name, folder of its module, command that builds it into $BIN
  local name=$1 module=$2 stamp log
  shift 2
  stamp=$(printf '%s\n' "$*" && [ -z "$module" ] || cksum <"$TOOLS/$module/go.mod")
  [ -x "$BIN/$name" ] && [ "$(cat "$BIN/.$name.stamp" 2>/dev/null)" = "$stamp" ] && return
  command -v go >/dev/null || cannot "Kubernetes for tests is built with Go 1.21 or newer, which is not installed (https://go.dev/dl)"
  log=$BIN/.$name.log
  local begin=$SECONDS
  printf 'building %s … ' "$name"
  if ! (cd "$TOOLS/$module" && "$@") >"$log" 2>&1; then
    echo "failed"
    tail -n 20 "$log" >&2
    exit 1
  fi
  printf '%s\n' "$stamp" >"$BIN/.$name.stamp"
  rm -f "$log"
  echo "done in $((SECONDS - begin)) s"
}

build() { # flags of the linker, package
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $1" -o "$BIN/" "$2"
}

etcd() {
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$BIN/etcd" go.etcd.io/etcd/server/v3
}

install_helm() {
  GOBIN=$BIN CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "helm.sh/helm/v4/cmd/helm@$1"
}

exec 9>"$BIN/.lock"
flock 9
program etcd etcd etcd
for name in kube-apiserver kube-controller-manager kubectl; do
  program $name kube build "$identity" k8s.io/kubernetes/cmd/$name
done
program helm "" install_helm "$helm"
[ "$tier" = node ] || exit 0
for name in kube-scheduler kubelet kube-proxy; do
  program $name kube build "$identity" k8s.io/kubernetes/cmd/$name
done
program coredns coredns build "" github.com/coredns/coredns
