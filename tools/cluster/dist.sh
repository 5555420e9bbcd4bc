#!/usr/bin/env bash
# Fills a folder with what deploy/Dockerfile takes from this machine's build instead of building it itself:
#   tools/cluster/dist.sh FOLDER [debug|release]
# Programs without what is for debuggers, the embedding model, PostgreSQL. This machine's C library must not be newer than
# that of Debian 12, on which the images stand.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
folder=${1:?usage: tools/cluster/dist.sh FOLDER [debug|release]}
build=${CARGO_TARGET_DIR:-$ROOT/target}/${2:-debug}
for program in docbrain docbrain-api docbrain-ingest docbrain-operator; do
  [ -x "$build/$program" ] || fail "$build/$program is missing: cargo build --workspace --bins$([ "${2:-}" != release ] || echo ' --release')"
done
[ -d "$DOCBRAIN_HOME/tools/model" ] && [ -d "$POSTGRES" ] || fail "the embedding model or PostgreSQL is missing: make tools"
mkdir -p "$folder/bin"
for program in docbrain docbrain-api docbrain-ingest docbrain-operator; do
  # An unchanged program keeps its copy.
  made_of=$(stat -c '%n %s %Y' "$build/$program")
  if [ ! -x "$folder/bin/$program" ] || [ "$(cat "$folder/.$program.stamp" 2>/dev/null)" != "$made_of" ]; then
    strip --strip-debug -o "$folder/bin/$program.new" "$build/$program"
    mv "$folder/bin/$program.new" "$folder/bin/$program"
    echo "$made_of" >"$folder/.$program.stamp"
  fi
done
rm -rf "$folder/model" "$folder/postgres"
cp -a -H "$DOCBRAIN_HOME/tools/model" "$folder/model"
cp -a -H "$POSTGRES" "$folder/postgres"
