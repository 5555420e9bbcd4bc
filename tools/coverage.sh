#!/usr/bin/env bash
# Line coverage by all tests, as tables; fails below a bar. Only the workspace's own crates are instrumented, and only their
# sources count, without tests. Run by `make coverage` beside an empty server (DATABASE_URL).
set -euo pipefail
# What is measured, its bar in percent, the folders.
bars() {
  cat <<'END'
core 80 core/src
ingest-job 80 ingest-job/src
api-server 80 api-server/src
overall 75 crds/src core/src ingest-job/src api-server/src operator/src cli/src bench/src
END
}
rustup component add llvm-tools >/dev/null 2>&1 || true
llvm=$(dirname "$(find "$(rustc --print sysroot)" -name llvm-cov -type f | head -n 1)")
folder=$PWD/target/coverage
rm -rf "$folder"
mkdir -p "$folder"
# Programs that are started without this variable, as the launcher starts ingestion and tests start the product, count into
# a file of this name in their working folder: that of the test's package.
stray() { find . -path ./target -prune -o -name 'default_*.profraw' -type f "$@"; }
export DOCBRAIN_CLUSTER=${DOCBRAIN_HOME:?}/test-apiserver
trap 'stray -exec rm -f {} +; tools/cluster/down.sh' EXIT
tools/cluster/down.sh
if tools/cluster/up.sh api; then
  export DOCBRAIN_TEST_APISERVER=$DOCBRAIN_CLUSTER/admin.conf
else
  echo "skipped: the tests of the API over Kubernetes, for the reason above"
fi
export RUSTC_WORKSPACE_WRAPPER=$PWD/tools/instrumented-rustc.sh
export LLVM_PROFILE_FILE=$folder/%p-%m.profraw
cargo build --workspace --all-targets
# A confined parser may not write a file, nor what it counted; the test that watches its confinement would see it try.
failed=0
cargo test --workspace --no-fail-fast -- --quiet --skip a_worker_confines_itself_before_it_reads || failed=1
stray -exec mv -t "$folder" {} +
# A process that was killed while it wrote leaves a file that cannot be read: it is left out.
find "$folder" -name '*.profraw' >"$folder/files"
"$llvm/llvm-profdata" merge --sparse --failure-mode=all --input-files="$folder/files" -o "$folder/merged.profdata"
find "$folder" -name '*.profraw' -delete
objects=$(cargo test --workspace --no-run --message-format=json 2>/dev/null |
  grep -oE '"executable":"[^"]+"' | cut -d'"' -f4 | sort -u | sed 's/^/--object /')
for program in docbrain docbrain-ingest docbrain-api docbrain-operator docbrain-bench; do
  objects="$objects --object target/debug/$program"
done
while read -r name bar sources; do
  # shellcheck disable=SC2086
  "$llvm/llvm-cov" report $objects --instr-profile "$folder/merged.profdata" \
    --ignore-filename-regex '(/tests/|/tests\.rs|\.cargo/|/rustc/)' \
    --sources $(for source in $sources; do echo "$PWD/$source"; done) >"$folder/$name.txt"
  percent=$(awk '/^TOTAL/ { print $10 }' "$folder/$name.txt" | tr -d %)
  echo "$name: $percent % of lines (bar: $bar %; by file: target/coverage/$name.txt)"
  awk -v percent="$percent" -v bar="$bar" 'BEGIN { exit percent >= bar ? 0 : 1 }' || failed=1
done < <(bars)
exit $failed
