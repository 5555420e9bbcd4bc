#!/bin/sh
# Fetches documents this project did not make, for the tests in ingest-job/tests/it/real.rs:
#   tools/real-documents.sh FOLDER && DOCBRAIN_REAL_DOCUMENTS=FOLDER cargo test -p docbrain-ingest real
# They come out of Debian 12 packages, which are only unpacked, never installed; root is not needed.
set -eu

# package=version  path in the package  name in the folder
list() {
  cat <<'END'
developers-reference=12.18 usr/share/developers-reference/developers-reference.pdf developers-reference.pdf
developers-reference=12.18 usr/share/developers-reference/developers-reference.epub developers-reference.epub
gnuplot-doc=5.4.4+dfsg1-2 usr/share/doc/gnuplot/gnuplot.pdf gnuplot.pdf
r-cran-officer=0.6.0+dfsg-1 usr/lib/R/site-library/officer/doc_examples/example.docx example.docx
r-cran-officer=0.6.0+dfsg-1 usr/lib/R/site-library/officer/doc_examples/example.pptx example.pptx
r-cran-readxl=1.4.2-1 usr/lib/R/site-library/readxl/extdata/deaths.xlsx deaths.xlsx
r-cran-readxl=1.4.2-1 usr/lib/R/site-library/readxl/extdata/datasets.xlsx datasets.xlsx
END
}

folder=${1:?usage: tools/real-documents.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "skipped: the real documents are in Debian packages, and this machine has no apt-get"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
list | while read -r package path name; do
  [ -s "$folder/$name" ] && continue
  unpacked=$work/${package%%=*}
  if [ ! -d "$unpacked" ]; then
    mkdir "$unpacked"
    if ! (cd "$unpacked" && apt-get download -qq "$package" >"$work/log" 2>&1); then
      echo "skipped: $package cannot be downloaded here (Debian 12 has it; is apt-get update needed?)"
      continue
    fi
    dpkg-deb -x "$unpacked"/*.deb "$unpacked"
  fi
  [ -f "$unpacked/$path" ] || continue
  cp "$unpacked/$path" "$folder/$name"
  echo "$folder/$name"
done
