#!/usr/bin/env bash
# Installs the chart with the images of images.sh into a test cluster, or brings what is installed up to date:
#   tools/cluster/install.sh [ARGUMENTS OF HELM…]
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ "$(tier)" = node ] || cannot "the cluster in $CLUSTER has no node"
images=$DOCBRAIN_HOME/tools/images
# Other images have the same name: what they are made of is told to the pods, so that they are replaced.
made_of() { cat "$images/$1.stamp" | sha256sum | cut -c 1-12; }
begin=$SECONDS
"$BIN/helm" --kubeconfig "$CLUSTER/admin.conf" upgrade --install docbrain "$ROOT/charts/docbrain" \
  --namespace docbrain --create-namespace --values "$TOOLS/cluster/values.yaml" \
  --set-string "operator.podAnnotations.image=$(made_of operator)-$(made_of ingest-job)" \
  --set-string "api.podAnnotations.image=$(made_of api-server)" --set-string "migration.podAnnotations.image=$(made_of api-server)" \
  --wait --timeout 5m "$@" >/dev/null
echo "DocBrain is installed after $((SECONDS - begin)) s; next:"
echo "  export KUBECONFIG=$CLUSTER/admin.conf PATH=$BIN:\$PATH"
echo "  kubectl apply -f deploy/examples/tenant.yaml && kubectl wait tenant acme --for=condition=Ready"
