#!/usr/bin/env bash
# Starts a Kubernetes on this machine, for tests, or what is missing of one:
#   tools/cluster/up.sh [api|node]
# api:  etcd, API server, controllers; anybody may, on loopback. node: also a scheduler and a node with real pods; as root.
# DOCBRAIN_CLUSTER names its folder. Ends with 3 where this machine cannot, and says why in one line.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
. "$here/processes.sh"
. "$here/node.sh"
tier=${1:-api}
[ "$tier" = api ] || [ "$tier" = node ] || fail "usage: tools/cluster/up.sh [api|node]"
[ "$(uname)" = Linux ] || cannot "a test cluster needs Linux; elsewhere, name any cluster in KUBECONFIG"
[ "$(tier || echo "$tier")" = "$tier" ] || fail "the cluster in $CLUSTER is of the other kind: tools/cluster/down.sh first"
[ "$tier" = api ] || check_node
"$here/binaries.sh" "$tier"
take_turn
begin=$SECONDS

find_port() {
  local port offset
  for _ in {1..100}; do
    port=$((FIRST_PORT + 10 * (RANDOM % ((LAST_PORT - FIRST_PORT) / 10))))
    for offset in {0..9}; do
      ! is_open 127.0.0.1 $((port + offset)) || continue 2
    done
    echo $port
    return
  done
  fail "there are no ten free ports in a row from $FIRST_PORT to $LAST_PORT"
}

start_etcd() {
  local url peer keys=$CLUSTER/pki
  url=https://127.0.0.1:$(etcd_port)
  peer=https://127.0.0.1:$(etcd_peer_port)
  # What was acknowledged survives a killed etcd, only not a loss of power.
  start etcd "$BIN/etcd" --name cluster --data-dir "$CLUSTER/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$url" --advertise-client-urls "$url" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "cluster=$peer" \
    --cert-file "$keys/server.crt" --key-file "$keys/server.key" --trusted-ca-file "$keys/ca.crt" --client-cert-auth \
    --peer-cert-file "$keys/server.crt" --peer-key-file "$keys/server.key" --peer-trusted-ca-file "$keys/ca.crt" --peer-client-cert-auth
}

start_controllers() {
  local keys=$CLUSTER/pki
  start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$CLUSTER/controller-manager.conf" \
    --leader-elect=false --use-service-account-credentials=true --secure-port=0 --profiling=false \
    --root-ca-file "$keys/ca.crt" --service-account-private-key-file "$keys/sa.key" \
    --kube-api-qps 200 --kube-api-burst 400
}

kubectl() {
  "$BIN/kubectl" --kubeconfig "$CLUSTER/admin.conf" --request-timeout 5s "$@"
}

echo "$tier" >"$CLUSTER/tier"
if [ ! -s "$CLUSTER/port" ]; then
  rm -rf "$CLUSTER/logs"
  find_port >"$CLUSTER/port"
fi
[ "$tier" = api ] || make_network
"$here/pki.sh"
start_etcd
await 30 etcd open is_open 127.0.0.1 "$(etcd_port)"
"$here/apiserver.sh" start
start_controllers
await 60 kube-controller-manager "at work" kubectl get serviceaccount default
[ "$tier" = api ] || start_node

echo "the cluster in $CLUSTER is ready after $((SECONDS - begin)) s; next:"
echo "  export KUBECONFIG=$CLUSTER/admin.conf PATH=$BIN:\$PATH"
