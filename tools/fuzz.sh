#!/usr/bin/env bash
# Sends a running API what its OpenAPI document allows, and what it does not:
#   tools/fuzz.sh URL [option of schemathesis …]
# DOCBRAIN_CLIENTS: the folder of schemathesis. DOCBRAIN_KNOWN: names and ids that are there, separated by spaces.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
url=${1:?usage: tools/fuzz.sh URL [option of schemathesis …]}
shift
# Whatever schemathesis writes down stays out of the repository.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2086
printf '"%s"\n' ${DOCBRAIN_KNOWN:-demo} >known.txt
cp "$here/schemathesis.toml" .
"${DOCBRAIN_CLIENTS:-$DOCBRAIN_HOME/tools/clients/bin}/schemathesis" run "$url/openapi.json" \
  --checks all --continue-on-failure --no-color --request-timeout 20 --generation-database none "$@"
