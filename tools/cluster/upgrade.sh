#!/usr/bin/env bash
# Tests the upgrade from an earlier version to this one, and the way back, in a cluster of its own:
#   tools/cluster/upgrade.sh COMMIT
# The earlier version is built from its own sources, into its own images and by its own scripts, in target/previous.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
commit=$(git -C "$ROOT" rev-parse --verify --quiet "${1:?usage: tools/cluster/upgrade.sh COMMIT}^{commit}") ||
  fail "there is no commit $1"
previous=$ROOT/target/previous
export DOCBRAIN_CLUSTER=$DOCBRAIN_HOME/upgrade-cluster
CLUSTER=$DOCBRAIN_CLUSTER

rm -rf "$previous/source"
mkdir -p "$previous/source"
git -C "$ROOT" archive "$commit" | tar -x -C "$previous/source"
export SQLX_OFFLINE=true
(cd "$previous/source" && CARGO_TARGET_DIR="$previous/target" cargo build --workspace --bins)
cd "$ROOT"
cargo build --workspace --all-targets

"$here/down.sh"
trap '"$here/down.sh"' EXIT
"$here/up.sh" node
CARGO_TARGET_DIR="$previous/target" "$previous/source/tools/cluster/images.sh" debug
for image in operator api-server ingest-job; do
  name=docker.io/docbrain/$image
  ctr -a "$CLUSTER/run/containerd.sock" -n k8s.io images tag --force "$name:dev" "$name:previous"
done
"$here/images.sh" debug
DOCBRAIN_TEST_PREVIOUS=$previous/source DOCBRAIN_TEST_KUBECONFIG=$CLUSTER/admin.conf \
  cargo test --workspace --test node -- of_an_earlier_version
