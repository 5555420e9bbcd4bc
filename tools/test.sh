#!/usr/bin/env bash
# Runs all tests, and ends with one line that counts them all. Run by `make test`, beside an empty PostgreSQL.
#
# Those of the node run in a cluster that is started for them and ended after them, where this machine can have one; in that
# of DOCBRAIN_TEST_KUBECONFIG, if it is set. Where there is neither, one line says why, and they count as skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
own_cluster=
trap 'finish' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

finish() {
  local status=$?
  trap - EXIT
  [ -z "$own_cluster" ] || tools/cluster/down.sh
  awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
       END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
  rm -f "$log"
  exit $status
}

run() { # command…
  "$@" 2>&1 | tee -a "$log"
  return "${PIPESTATUS[0]}"
}

# Starts a cluster with the images. Says why there is none, and ends with 3 where this machine cannot.
start_cluster() {
  export DOCBRAIN_CLUSTER=${DOCBRAIN_HOME:?}/test-cluster
  [ "${DOCBRAIN_TEST_NODE:-}" != no ] || { echo "skipped: DOCBRAIN_TEST_NODE is no" >&2; return 3; }
  tools/cluster/binaries.sh node || return 3
  # What a killed run has left would be taken for its own.
  tools/cluster/down.sh || return 1
  own_cluster=$DOCBRAIN_CLUSTER
  tools/cluster/up.sh node || { [ $? = 3 ] && own_cluster= && return 3; return 1; }
  tools/cluster/images.sh debug || return
  export DOCBRAIN_TEST_KUBECONFIG=$DOCBRAIN_CLUSTER/admin.conf
}

kubeconfig=${DOCBRAIN_TEST_KUBECONFIG:-}
unset DOCBRAIN_TEST_KUBECONFIG
failed=0
DOCBRAIN_TEST_NODE=later run cargo test --workspace --no-fail-fast || failed=1
if [ -n "$kubeconfig" ]; then
  export DOCBRAIN_TEST_KUBECONFIG=$kubeconfig
else
  start_cluster
  case $? in
  0) ;;
  3) echo "skipped: the tests in real pods, for the reason above" ;;
  *) failed=1 ;;
  esac
fi
run cargo test --workspace --test node || failed=1
exit $failed
