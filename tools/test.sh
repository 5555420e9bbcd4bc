#!/usr/bin/env bash
# Runs all tests, and ends with one line that counts them all. Run by `make test`, beside an empty PostgreSQL.
#
# Those of the API over Kubernetes run against an API server that is started for them, where it could be built. Those of the
# node run in a cluster that is started for them and ended after them, where this machine can have one; in that
# of DOCBRAIN_TEST_KUBECONFIG, if it is set. Where there is neither, one line says why, and they count as skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
own_clusters=()
trap 'finish' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

finish() {
  local status=$?
  trap - EXIT
  local cluster
  for cluster in ${own_clusters[@]+"${own_clusters[@]}"}; do
    DOCBRAIN_CLUSTER=$cluster tools/cluster/down.sh
  done
  awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
       END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
  rm -f "$log"
  exit $status
}

run() { # command…
  "$@" 2>&1 | tee -a "$log"
  return "${PIPESTATUS[0]}"
}

# Starts a cluster of our own. Says why there is none, and ends with 3 where this machine cannot.
start_cluster() { # folder, tier
  export DOCBRAIN_CLUSTER=${DOCBRAIN_HOME:?}/$1
  tools/cluster/binaries.sh "$2" || return 3
  # What a killed run has left would be taken for its own.
  tools/cluster/down.sh || return 1
  own_clusters+=("$DOCBRAIN_CLUSTER")
  tools/cluster/up.sh "$2"
}

# A node with the images.
start_node() {
  [ "${DOCBRAIN_TEST_NODE:-}" != no ] || { echo "skipped: DOCBRAIN_TEST_NODE is no" >&2; return 3; }
  start_cluster test-cluster node || return
  tools/cluster/images.sh debug || return 1
  export DOCBRAIN_TEST_KUBECONFIG=$DOCBRAIN_CLUSTER/admin.conf
}

kubeconfig=${DOCBRAIN_TEST_KUBECONFIG:-}
unset DOCBRAIN_TEST_KUBECONFIG
failed=0
if [ -z "${DOCBRAIN_TEST_APISERVER:-}" ]; then
  start_cluster test-apiserver api
  case $? in
  0) export DOCBRAIN_TEST_APISERVER=$DOCBRAIN_CLUSTER/admin.conf ;;
  3) echo "skipped: the tests of the API over Kubernetes, for the reason above" ;;
  *) failed=1 ;;
  esac
fi
DOCBRAIN_TEST_NODE=later run cargo test --workspace --no-fail-fast || failed=1
if [ -n "$kubeconfig" ]; then
  export DOCBRAIN_TEST_KUBECONFIG=$kubeconfig
else
  start_node
  case $? in
  0) ;;
  3) echo "skipped: the tests in real pods, for the reason above" ;;
  *) failed=1 ;;
  esac
fi
run cargo test --workspace --test node || failed=1
exit $failed
