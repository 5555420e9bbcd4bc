#!/usr/bin/env bash
# Line coverage of core and ingest-job by all their tests, as a table; fails below the bar of either.
# Only the workspace's own crates are instrumented. Run by `make coverage` beside an empty server (DATABASE_URL).
set -euo pipefail
bar=80
rustup component add llvm-tools >/dev/null 2>&1 || true
llvm=$(dirname "$(find "$(rustc --print sysroot)" -name llvm-cov -type f | head -n 1)")
folder=$PWD/target/coverage
rm -rf "$folder"
mkdir -p "$folder"
export RUSTC_WORKSPACE_WRAPPER=$PWD/tools/instrumented-rustc.sh
export LLVM_PROFILE_FILE=$folder/%p-%m.profraw
cargo build --workspace --all-targets
# A confined parser may not write a file, nor what it counted; the test that watches its confinement would see it try.
failed=0
cargo test --workspace --no-fail-fast -- --quiet --skip a_worker_confines_itself_before_it_reads || failed=1
"$llvm/llvm-profdata" merge --sparse "$folder"/*.profraw -o "$folder/merged.profdata"
objects=$(cargo test --workspace --no-run --message-format=json 2>/dev/null |
  grep -oE '"executable":"[^"]+"' | cut -d'"' -f4 | sort -u | sed 's/^/--object /')
for crate in core ingest-job; do
  # shellcheck disable=SC2086
  "$llvm/llvm-cov" report $objects --object target/debug/docbrain-ingest --object target/debug/docbrain \
    --instr-profile "$folder/merged.profdata" --ignore-filename-regex '(/tests/|/tests\.rs|\.cargo/|/rustc/)' \
    --sources "$PWD/$crate/src" > "$folder/$crate.txt"
  percent=$(awk '/^TOTAL/ { print $10 }' "$folder/$crate.txt" | tr -d %)
  echo "$crate: $percent % of lines (bar: $bar %; by file: target/coverage/$crate.txt)"
  awk -v percent="$percent" -v bar=$bar 'BEGIN { exit percent >= bar ? 0 : 1 }' || failed=1
done
exit $failed
