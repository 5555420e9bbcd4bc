#!/usr/bin/env bash
# Tries the node of a test cluster with the images of images.sh, in a namespace where PodSecurity is `restricted`:
# each program starts; a pod finds a database by the name of its Service; another reaches the host's PostgreSQL; a killed
# database comes back.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
[ "$(tier)" = node ] || cannot "the cluster in $CLUSTER has no node"
namespace=docbrain-check
log=$(mktemp)
trap 'rm -f "$log"' EXIT

kubectl() {
  "$BIN/kubectl" --kubeconfig "$CLUSTER/admin.conf" "$@"
}

# The body of a pod: name, image, volume, command as a JSON list.
pod() {
  cat <<END
{
  "restartPolicy": "$5", "automountServiceAccountToken": false,
  "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } $6 },
  "containers": [{
    "name": "$1", "image": "docbrain/$2:dev", "imagePullPolicy": "Never", $4
    "env": [{ "name": "POSTGRES_PASSWORD", "value": "check" }, { "name": "PGPASSWORD", "value": "check" }],
    "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } }
    $( [ -z "$3" ] || echo ", \"volumeMounts\": [{ \"name\": \"data\", \"mountPath\": \"$3\" }]" )
  }],
  "volumes": [{ "name": "data", "emptyDir": {} }]
}
END
}

job() { # name, image, what follows the image's entrypoint or replaces it
  kubectl -n $namespace apply -f - >/dev/null <<END
{
  "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "$1" },
  "spec": { "backoffLimit": 3, "template": { "spec": $(pod "$1" "$2" "" "$3," Never "") } }
}
END
}

completed() { # name
  local begin=$SECONDS
  if ! kubectl -n $namespace wait --for condition=Complete --timeout 60s "job/$1" >"$log" 2>&1; then
    kubectl -n $namespace describe "job/$1" | tail -n 15 >&2
    kubectl -n $namespace get events --sort-by .lastTimestamp | tail -n 10 >&2
    kubectl -n $namespace logs "job/$1" --tail 20 >&2 || true
    fail "the Job $1 did not complete"
  fi
  printf '%-22s %s (%s s)\n' "$1" "$(kubectl -n $namespace logs "job/$1" | tail -n 1)" $((SECONDS - begin))
}

kubectl delete namespace $namespace --ignore-not-found --timeout 60s >/dev/null
kubectl create namespace $namespace >/dev/null
kubectl label namespace $namespace pod-security.kubernetes.io/enforce=restricted >/dev/null
owner=$("$here/postgres.sh" start)
until kubectl -n $namespace get serviceaccount default >/dev/null 2>&1; do sleep 0.1; done

job operator operator '"args": ["--version"]'
job ingest-job ingest-job '"args": ["--version"]'
job api-server api-server '"command": ["/usr/local/bin/docbrain-api", "--version"]'
kubectl -n $namespace apply -f - >/dev/null <<END
{
  "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "database" },
  "spec": {
    "replicas": 1, "selector": { "matchLabels": { "app": "database" } },
    "template": { "metadata": { "labels": { "app": "database" } }, "spec":
      $(pod database postgres /var/lib/postgresql/data '"readinessProbe": { "exec": { "command": ["pg_isready"] }, "periodSeconds": 1 },' Always ', "fsGroup": 26') }
  }
}
---
{
  "apiVersion": "v1", "kind": "Service", "metadata": { "name": "database" },
  "spec": { "selector": { "app": "database" }, "ports": [{ "port": 5432 }] }
}
END
job host-database postgres "\"command\": [\"psql\", \"-X\", \"-A\", \"-t\", \"$owner\", \"-c\", \"select 'reached as ' || current_user\"]"
completed operator
completed ingest-job
completed api-server
completed host-database
kubectl -n $namespace rollout status deployment/database --timeout 60s >/dev/null || { kubectl -n $namespace logs deployment/database >&2; fail "the database is not ready"; }
job service-by-name postgres "\"command\": [\"psql\", \"-X\", \"-A\", \"-t\", \"-h\", \"database\", \"-U\", \"docbrain_owner\", \"docbrain\",
  \"-c\", \"select 'pgvector ' || extversion from pg_extension where extname = 'vector'\"]"
completed service-by-name

# A killed database recovers what it holds.
container=$(kubectl -n $namespace get pods -l app=database -o jsonpath='{.items[0].status.containerStatuses[0].containerID}')
ctr -a "$CLUSTER/run/containerd.sock" -n k8s.io tasks kill -s SIGKILL "${container#containerd://}"
until [ "$(kubectl -n $namespace get pods -l app=database -o jsonpath='{.items[0].status.containerStatuses[0].restartCount} {.items[0].status.containerStatuses[0].ready}')" = "1 true" ]; do
  [ $SECONDS -lt 180 ] || { kubectl -n $namespace logs deployment/database >&2; fail "the killed database did not come back"; }
  sleep 0.5
done
echo "the killed database is back"
kubectl delete namespace $namespace --wait=false >/dev/null
echo "the node works"
