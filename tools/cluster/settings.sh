# Where the parts of a test cluster are, for the scripts beside this one, which read it with `.`.
# shellcheck shell=bash disable=SC2034

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(dirname "$TOOLS")
if [ -z "${DOCBRAIN_HOME:-}" ]; then
  if [ "$(id -u)" = 0 ]; then DOCBRAIN_HOME=/var/lib/docbrain; else DOCBRAIN_HOME=${XDG_DATA_HOME:-$HOME/.local/share}/docbrain; fi
fi
# Everything one cluster writes: keys, configuration, logs, data. Two folders are two clusters.
CLUSTER=${DOCBRAIN_CLUSTER:-$DOCBRAIN_HOME/cluster}
BIN=$DOCBRAIN_HOME/tools/kube/bin
POSTGRES=$DOCBRAIN_HOME/tools/postgres

# A cluster takes ten ports in a row. Its first is found when it is made, and written to $CLUSTER/port.
FIRST_PORT=26400
LAST_PORT=29990
apiserver_port() { cat "$CLUSTER/port"; }
etcd_port() { echo $(($(apiserver_port) + 1)); }
etcd_peer_port() { echo $(($(apiserver_port) + 2)); }
postgres_port() { echo $(($(apiserver_port) + 3)); }
kubelet_port() { echo $(($(apiserver_port) + 4)); }

# The network of a cluster with a node; one machine has room for one.
NETWORK=docbrain-pods
BRIDGE=docbrain0
HOST=10.88.0.1
PODS=10.88.0.0/16
SERVICES=10.96.0.0/16
FIRST_SERVICE=10.96.0.1
# The table of nft and the control group that hold what is the cluster's.
TABLE=docbrain-cluster
GROUP=docbrain-cluster
NODE=docbrain-node

# A proxy of the shell is not for these addresses.
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1,$HOST,$FIRST_SERVICE" no_proxy="${no_proxy:+$no_proxy,}localhost,127.0.0.1,$HOST,$FIRST_SERVICE"

# The programs of Kubernetes have little to keep and much to do: with more garbage they take a fifth less of the processors.
export GOGC=${GOGC:-400}

tier() { cat "$CLUSTER/tier" 2>/dev/null; }

# Where the API server listens: at the bridge where pods must reach it, else where nobody else can.
address() { if [ "$(tier)" = node ]; then echo $HOST; else echo 127.0.0.1; fi; }

cannot() { # reason
  echo "skipped: $1" >&2
  exit 3
}

fail() { # reason
  echo "error: $1" >&2
  exit 1
}

# One script at a time changes a cluster; those it calls belong to it.
take_turn() {
  [ -z "${DOCBRAIN_CLUSTER_TURN:-}" ] || return 0
  mkdir -p "$CLUSTER"
  exec 8>"$CLUSTER/.lock"
  flock -w 600 8 || fail "another script has held $CLUSTER for ten minutes"
  export DOCBRAIN_CLUSTER_TURN=1
}
