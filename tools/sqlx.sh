#!/usr/bin/env bash
# Writes what the query macros learn of a fresh database into a folder, for builds without one.
# Run by `make generate` and `make fresh` beside an empty server (DATABASE_URL).
set -euo pipefail
folder=$1
rm -rf "$folder"
mkdir -p "$folder"
folder=$(realpath "$folder")
# Not by the product's own program, which holds the migrations of the time it was built.
"$DOCBRAIN_HOME/tools/postgres/bin/psql" "$DATABASE_URL" --quiet --no-psqlrc --set ON_ERROR_STOP=1 \
  $(printf -- '--file %s ' migrations/*.sql)
# The macros run only when the crate is compiled; afterwards it counts as unchanged again.
mtime=$(mktemp)
trap 'touch -r "$mtime" core/src/lib.rs; rm -f "$mtime"' EXIT
touch -r core/src/lib.rs "$mtime"
touch core/src/lib.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$folder" cargo check --quiet --workspace --all-targets
test -n "$(ls -A "$folder")"
