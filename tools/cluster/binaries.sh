#!/usr/bin/env bash
# Builds the programs of a Kubernetes out of their Go modules, once for each version:
#   tools/cluster/binaries.sh [api|node]
# api: etcd, kube-apiserver, kube-controller-manager, kubectl, helm. node: also kube-scheduler, kubelet, kube-proxy, coredns.
# They come to $DOCBRAIN_HOME/tools/kube/bin. Says nothing and does nothing when they are there already.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
tier=${1:-api}
helm=v4.3.1
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$TOOLS/kube/go.mod")
minor=${version#v1.}
export CGO_ENABLED=0

kubernetes() { # program
  local package=k8s.io/component-base/version
  go build -trimpath -o "$BIN/" \
    -ldflags "-s -w -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}" \
    "k8s.io/kubernetes/cmd/$1"
}

make() { # program
  case $1 in
  etcd) cd "$TOOLS/etcd" && go build -trimpath -ldflags "-s -w" -o "$BIN/etcd" go.etcd.io/etcd/server/v3 ;;
  coredns) cd "$TOOLS/coredns" && go build -trimpath -ldflags "-s -w" -o "$BIN/" github.com/coredns/coredns ;;
  helm) GOBIN=$BIN go install -trimpath -ldflags "-s -w" "helm.sh/helm/v4/cmd/helm@$helm" ;;
  *) cd "$TOOLS/kube" && kubernetes "$1" ;;
  esac
}

# What a program is made from; when that has changed, it is built again.
stamp() { # program
  case $1 in
  etcd | coredns) cksum <"$TOOLS/$1/go.mod" ;;
  helm) echo "$helm" ;;
  *) cksum <"$TOOLS/kube/go.mod" ;;
  esac
}

missing() {
  local programs=(etcd kube-apiserver kube-controller-manager kubectl helm) name
  [ "$tier" = api ] || programs+=(kube-scheduler kubelet kube-proxy coredns)
  for name in "${programs[@]}"; do
    [ -x "$BIN/$name" ] && [ "$(cat "$BIN/.$name.stamp" 2>/dev/null)" = "$(stamp "$name")" ] || echo "$name"
  done
}

[ -n "$(missing)" ] || exit 0
command -v go >/dev/null || cannot "Kubernetes for tests is built with Go 1.21 or newer, which is not installed: https://go.dev/dl"
mkdir -p "$BIN"
exec 9>"$BIN/.lock"
flock 9
for name in $(missing); do
  begin=$SECONDS
  printf 'building %s … ' "$name"
  if ! (make "$name") >"$BIN/.log" 2>&1; then
    echo failed
    tail -n 20 "$BIN/.log" >&2
    fail "go could not build $name; its modules come from $(go env GOPROXY)"
  fi
  stamp "$name" >"$BIN/.$name.stamp"
  echo "done in $((SECONDS - begin)) s"
done
