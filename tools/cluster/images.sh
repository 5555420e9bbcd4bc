#!/usr/bin/env bash
# Builds the images of deploy/Dockerfile from this machine's build, and gives them to the cluster's containerd:
#   tools/cluster/images.sh [debug|release]     the build to take; or `pause`, for that image alone
# No registry is needed: the base is made by debootstrap out of Debian's packages. The images are docbrain/<target>:dev.
# Without a cluster they are built only, and `docker load` or `kind load image-archive` take their archives.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
. "$here/processes.sh"
profile=${1:-debug}
images=$DOCBRAIN_HOME/tools/images
base=docker.io/library/debian:bookworm-slim
socket=$CLUSTER/run/containerd.sock

[ "$(id -u)" = 0 ] || cannot "images are built as root"
for program in buildah debootstrap; do
  command -v $program >/dev/null || cannot "images are built by $program, which is not installed (tools/cluster/up.sh node installs it)"
done
mkdir -p "$images"
exec 9>"$images/.lock"
flock 9

# Layers on layers do not work: a folder inside a container takes plain copies.
driver=overlay
[ "$(stat -f -c %T "$images")" != overlayfs ] || driver=vfs

buildah() { # as the program, without namespaces that a container may not make
  BUILDAH_ISOLATION=chroot command buildah --storage-driver $driver --root "$images/storage" --runroot "$images/run" "$@"
}

# Runs a command and tells how long it took; its words only if it fails.
step() { # what, command…
  local what=$1 begin=$SECONDS
  shift
  printf '%s … ' "$what"
  # Beside this script, because a function that is asked for its success goes on after a failure.
  "$@" >"$images/log" 2>&1 &
  if ! wait $!; then
    echo failed
    tail -n 12 "$images/log" | cut -c 1-400 >&2
    exit 1
  fi
  echo "done in $((SECONDS - begin)) s"
}

make_base() {
  local container rootfs=$images/rootfs
  rm -rf "$rootfs"
  debootstrap --variant=minbase bookworm "$rootfs" "${DOCBRAIN_DEBIAN:-http://deb.debian.org/debian}"
  # What Debian's own slim image leaves out as well.
  rm -rf "$rootfs"/usr/share/{doc,man,info,locale,lintian}/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/*.log \
    "$rootfs"/var/cache/apt/{*.bin,archives/*.deb}
  container=$(buildah from scratch)
  buildah add -q "$container" "$rootfs" /
  buildah config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit -q --rm "$container" $base
  rm -rf "$rootfs"
}

make_pause() {
  local container folder=$images/pause
  mkdir -p "$folder"
  cc -Os -static -s -o "$folder/pause" "$here/pause.c"
  container=$(buildah from scratch)
  buildah copy -q "$container" "$folder/pause" /pause
  buildah config --user 65535:65535 --entrypoint '["/pause"]' "$container"
  buildah commit -q --rm "$container" docker.io/docbrain/pause:dev
  archive pause
}

archive() { # target
  rm -f "$images/$1.tar"
  buildah push -q "docker.io/docbrain/$1:dev" "docker-archive:$images/$1.tar:docker.io/docbrain/$1:dev"
}

make_image() { # target
  buildah bud --pull-never --layers --build-arg PARTS=dist \
    --label org.opencontainers.image.version="$(version)" --label org.opencontainers.image.revision="$(revision)" \
    --target "$1" -t "docker.io/docbrain/$1:dev" -f "$ROOT/deploy/Dockerfile" "$images/context/$1"
  archive "$1"
}

version() { awk -F '"' '/^\[workspace.package\]/ { inside = 1 } inside && /^version/ { print $2; exit }' "$ROOT/Cargo.toml"; }
revision() { git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown; }

# Gives a target a context with what it takes of the build, and no more, since all of a context is copied.
make_context() { # target
  local context=$images/context/$1 file files
  case $1 in
  operator) files=(bin/docbrain-operator) ;;
  api-server) files=(bin/docbrain-api bin/docbrain model) ;;
  ingest-job) files=(bin/docbrain-ingest model) ;;
  postgres) files=(postgres) ;;
  esac
  rm -rf "$context"
  mkdir -p "$context/dist/bin" "$context/deploy"
  for file in "${files[@]}"; do
    cp -al "$images/dist/$file" "$context/dist/$file"
  done
  cp "$ROOT/deploy/postgres.sh" "$context/deploy/"
}

# What an image is made of; the revision is only a label, and does not count.
inputs() { # target
  buildah inspect --type image --format '{{.FromImageID}}' $base
  cat "$ROOT/deploy/Dockerfile"
  cd "$images/context/$1"
  find . -type f -print0 | sort -z | xargs -0 sha256sum
}

build() { # target, what it is made of, command
  local target=$1 made_of=$2
  shift 2
  if [ ! -s "$images/$target.tar" ] || [ "$(cat "$images/$target.stamp" 2>/dev/null)" != "$made_of" ]; then
    rm -f "$images/$target.stamp"
    step "building docbrain/$target" "$@"
    echo "$made_of" >"$images/$target.stamp"
  fi
}

snapshotter() { awk -F '"' '/snapshotter/ { print $2 }' "$CLUSTER/containerd.toml"; }

import() { # target
  local given=$CLUSTER/containerd/docbrain-$1.stamp
  process containerd >/dev/null || return 0
  cmp -s "$images/$1.stamp" "$given" && return
  step "importing docbrain/$1" ctr -a "$socket" -n k8s.io images import --snapshotter "$(snapshotter)" "$images/$1.tar"
  cp "$images/$1.stamp" "$given"
}

build pause "$(cksum <"$here/pause.c")" make_pause
import pause
[ "$profile" != pause ] || exit 0

"$here/dist.sh" "$images/dist" "$profile"
buildah inspect --type image $base >/dev/null 2>&1 || step "making Debian 12" make_base
for target in operator api-server ingest-job postgres; do
  make_context $target
  build $target "$(inputs $target | sha256sum)" make_image $target
  import $target
done
# What failed and earlier builds leave behind would fill the disk.
{ buildah rm --all && buildah rmi --prune; } >/dev/null 2>&1 || true
for target in operator api-server ingest-job postgres; do
  printf 'docbrain/%s:dev  %s MB\n' $target $(($(stat -c %s "$images/$target.tar") / 1000000))
done
process containerd >/dev/null || echo "no cluster runs here; the images are in $images/*.tar"
