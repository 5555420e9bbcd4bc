#!/usr/bin/env bash
# Ends the cluster of up.sh and forgets what it held; its logs and the images built for it stay.
# Ends also what a killed run has left behind: pods, mounts, rules, the bridge.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/processes.sh"
[ -d "$CLUSTER" ] || exit 0
take_turn

end_pods() {
  local id left
  # A pod's processes are in the cluster's control group; what looks after them names its socket.
  for id in $(grep -lazF "$CLUSTER/run/containerd.sock" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3 || true); do
    [[ $(readlink "/proc/$id/exe") != *containerd-shim* ]] || kill -s KILL "$id" 2>/dev/null || true
  done
  for _ in {1..100}; do
    # A group may go while it is read.
    left=$(find /sys/fs/cgroup -path "*/$GROUP/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u || true)
    [ -n "$left" ] || break
    # shellcheck disable=SC2086
    kill -s KILL $left 2>/dev/null || true
    sleep 0.1
  done
  find /sys/fs/cgroup -depth -path "*/$GROUP*" -type d -exec rmdir {} + 2>/dev/null || true
}

end_network() {
  nft delete table ip "$TABLE" 2>/dev/null || true
  nft delete table ip kube-proxy 2>/dev/null || true
  nft delete table ip6 kube-proxy 2>/dev/null || true
  iptables -D FORWARD -i "$BRIDGE" -j ACCEPT 2>/dev/null || true
  iptables -D FORWARD -o "$BRIDGE" -j ACCEPT 2>/dev/null || true
  ip link delete "$BRIDGE" 2>/dev/null || true
  [ ! -s "$CLUSTER/run/ip_forward" ] || cat "$CLUSTER/run/ip_forward" >/proc/sys/net/ipv4/ip_forward
  # What the network plugins and kubelet note about pods outside of the cluster's folder.
  local note
  for note in /var/lib/cni/results/"$NETWORK"-*-eth0; do
    note=${note##*/"$NETWORK"-}
    rm -f /var/lib/cni/results/*-"${note%-eth0}"-*
  done
  rm -f /run/docbrain-cluster
  find /var/log/containers -lname "$CLUSTER/*" -delete 2>/dev/null || true
}

"$(dirname "$0")/postgres.sh" stop
for name in coredns kube-proxy kubelet kube-scheduler kube-controller-manager; do
  stop $name 10
done
if [ "$(tier)" = node ] && [ "$(id -u)" = 0 ]; then
  end_pods
  stop containerd 10
  end_pods
fi
stop kube-apiserver 5
stop etcd 5
# The last mounted goes first.
awk -v folder="$CLUSTER/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | tac | while read -r mount; do
  umount "$mount" 2>/dev/null || umount --lazy "$mount" || true
done
[ "$(tier)" != node ] || [ "$(id -u)" != 0 ] || end_network
[ -z "$(awk -v folder="$CLUSTER/" 'index($2, folder) == 1 { print $2 }' /proc/mounts)" ] ||
  fail "something is still mounted below $CLUSTER, so nothing is deleted"
find "$CLUSTER" -mindepth 1 -maxdepth 1 ! -name images ! -name logs ! -name .lock -exec rm -rf --one-file-system {} +
