#!/usr/bin/env bash
# Starts and stops the API server of a test cluster; pods go on meanwhile:
#   tools/cluster/apiserver.sh start|stop|kill
set -euo pipefail
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/processes.sh"
[ -s "$CLUSTER/port" ] || fail "there is no cluster in $CLUSTER: tools/cluster/up.sh makes one"

launch() {
  local keys=$CLUSTER/pki options
  if [ "$(tier)" = node ]; then
    options=(
      --advertise-address="$HOST"
      --kubelet-certificate-authority="$keys/ca.crt"
      --kubelet-client-certificate="$keys/admin.crt"
      --kubelet-client-key="$keys/admin.key"
      --kubelet-preferred-address-types=InternalIP
    )
  else
    # Without pods nobody asks for the Service `kubernetes`, and its endpoint may not be of this machine alone.
    options=(--advertise-address="$HOST" --endpoint-reconciler-type=none)
  fi
  # A test that wants to know who did what puts a policy there before it starts the cluster.
  [ ! -s "$CLUSTER/audit.yaml" ] ||
    options+=(--audit-policy-file="$CLUSTER/audit.yaml" --audit-log-path="$CLUSTER/logs/audit.log")
  start kube-apiserver "$BIN/kube-apiserver" \
    --bind-address="$(address)" --secure-port="$(apiserver_port)" \
    --tls-cert-file="$keys/server.crt" --tls-private-key-file="$keys/server.key" --client-ca-file="$keys/ca.crt" \
    --etcd-servers="https://127.0.0.1:$(etcd_port)" \
    --etcd-cafile="$keys/ca.crt" --etcd-certfile="$keys/admin.crt" --etcd-keyfile="$keys/admin.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --service-cluster-ip-range="$SERVICES" --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$keys/sa.pub" --service-account-signing-key-file="$keys/sa.key" \
    --profiling=false "${options[@]}"
}

is_ready() {
  "$BIN/kubectl" --kubeconfig "$CLUSTER/admin.conf" --request-timeout 2s get --raw /readyz
}

take_turn
case ${1:-} in
start)
  launch
  await 60 kube-apiserver ready is_ready
  ;;
# It waits for those who watch as long as it may, which is too long for a test.
stop) stop kube-apiserver 3 ;;
kill) stop kube-apiserver 3 KILL ;;
*) fail "usage: tools/cluster/apiserver.sh start|stop|kill" ;;
esac
