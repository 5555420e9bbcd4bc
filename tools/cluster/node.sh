# The node of a test cluster: its network, containerd, kubelet and what belongs to them. Read by up.sh with `.`.
# shellcheck shell=bash

CONTAINERD=$CLUSTER/run/containerd.sock

plugins() { # prints the folder of the network plugins
  local folder
  for folder in /usr/lib/cni /opt/cni/bin; do
    [ -x "$folder/bridge" ] && [ -x "$folder/host-local" ] && echo "$folder" && return
  done
  return 1
}

# Says in one line why this machine cannot have a node; installs what is missing, once.
check_node() {
  local owner group folder try=docbrain-try
  [ "$(id -u)" = 0 ] || cannot "a node needs root: sudo make cluster-up, or tools/cluster/up.sh api, or any cluster in KUBECONFIG"
  owner=$(cat /run/docbrain-cluster 2>/dev/null || true)
  if [ -n "$owner" ] && [ "$owner" != "$CLUSTER" ] && process kubelet "$owner" >/dev/null; then
    cannot "the node of this machine belongs to the cluster in $owner: DOCBRAIN_CLUSTER=$owner tools/cluster/down.sh ends it"
  fi
  install_packages
  group=$(groups_folders | head -n 1)/$try
  { mkdir -p "$group" && rmdir "$group"; } 2>/dev/null ||
    cannot "control groups cannot be made below $(dirname "$group"): this looks like a container without privileges"
  { ip link add $try type bridge && ip link delete $try; } 2>/dev/null ||
    cannot "network bridges cannot be made: the kernel has none, or this is a container without privileges"
  folder=$(mktemp -d)
  { mount -t tmpfs docbrain-try "$folder" && umount "$folder" && rmdir "$folder"; } 2>/dev/null ||
    cannot "nothing can be mounted: this looks like a container without privileges"
  nft list tables >/dev/null 2>&1 || cannot "the kernel has no nftables, which carry the Services"
}

install_packages() {
  local missing=()
  command -v containerd >/dev/null || missing+=(containerd)
  command -v runc >/dev/null || missing+=(runc)
  plugins >/dev/null || missing+=(containernetworking-plugins)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v nft >/dev/null || missing+=(nftables)
  command -v buildah >/dev/null || missing+=(buildah)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || cannot "a node needs ${missing[*]}, and this machine has no apt-get to install them"
  echo "installing ${missing[*]} …"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    grep '^E:' "$log" >&2 || tail -n 5 "$log" >&2
    rm -f "$log"
    cannot "apt-get could not install ${missing[*]}"
  fi
  rm -f "$log"
}

# The roots of all hierarchies of control groups: one in version 2, several in version 1.
groups_folders() {
  awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts
}

make_group() {
  local folder file controller
  for folder in $(groups_folders); do
    mkdir -p "$folder/$GROUP"
    # In version 2, a group has the controllers that the one above hands down.
    if [ "$folder" = /sys/fs/cgroup ]; then
      for controller in $(cat "$folder/cgroup.controllers"); do
        echo "+$controller" >"$folder/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
    # In version 1, a group has no processors and no memory until it is told.
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$folder/$file" ] || [ -n "$(cat "$folder/$GROUP/$file")" ] || cat "$folder/$file" >"$folder/$GROUP/$file"
    done
  done
}

make_network() {
  echo "$CLUSTER" >/run/docbrain-cluster
  # A fixed hardware address: a bridge otherwise takes that of one of its pods, and changes it.
  ip link show $BRIDGE >/dev/null 2>&1 || ip link add $BRIDGE type bridge
  ip link set $BRIDGE address 02:db:0a:58:00:01 up
  ip address replace $HOST/16 dev $BRIDGE
  mkdir -p "$CLUSTER/run"
  [ -e "$CLUSTER/run/ip_forward" ] || cat /proc/sys/net/ipv4/ip_forward >"$CLUSTER/run/ip_forward"
  echo 1 >/proc/sys/net/ipv4/ip_forward
  # Pods reach the world under the name of the machine.
  nft -f - <<END
table ip $TABLE
delete table ip $TABLE
table ip $TABLE {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr $PODS ip daddr != $PODS masquerade
  }
}
END
  # Docker forwards for nobody but its own.
  local way
  if command -v iptables >/dev/null && iptables -S FORWARD 2>/dev/null | grep -q -- '^-P FORWARD DROP'; then
    for way in -i -o; do
      iptables -C FORWARD $way $BRIDGE -j ACCEPT 2>/dev/null || iptables -I FORWARD $way $BRIDGE -j ACCEPT
    done
  fi
}

start_node() {
  write_files
  start containerd containerd --config "$CLUSTER/containerd.toml"
  await 60 containerd ready ctr -a "$CONTAINERD" version
  import_pause
  start kube-scheduler "$BIN/kube-scheduler" --config "$CLUSTER/scheduler.yaml" --secure-port=0
  make_group
  start kubelet "$BIN/kubelet" --config "$CLUSTER/kubelet.yaml" --kubeconfig "$CLUSTER/kubelet.conf" \
    --root-dir "$CLUSTER/kubelet" --cert-dir "$CLUSTER/kubelet/pki" --hostname-override $NODE --node-ip $HOST
  start kube-proxy "$BIN/kube-proxy" --config "$CLUSTER/proxy.yaml" --hostname-override $NODE
  start coredns "$BIN/coredns" -conf "$CLUSTER/Corefile"
  await 60 coredns open is_open $HOST 53
  await 60 kubelet ready node_is_ready
}

node_is_ready() {
  kubectl wait --for condition=Ready --timeout 2s "node/$NODE"
}

# The image that holds the namespaces of a pod: a program that waits to be told to end.
import_pause() {
  [ -z "$(ctr -a "$CONTAINERD" -n k8s.io images list -q name==docker.io/docbrain/pause:dev)" ] || return 0
  "$(dirname "${BASH_SOURCE[0]}")/images.sh" pause
}

write_files() {
  local masquerade=true
  # Where bridged packets do not pass the rules of Services, the answer of a neighbour would bypass them.
  [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" != 1 ] || masquerade=false
  # Layers on layers do not work: a folder inside a container takes plain copies.
  local snapshotter=overlayfs
  [ "$(stat -f -c %T "$CLUSTER")" != overlayfs ] || snapshotter=native

  cat >"$CLUSTER/containerd.toml" <<END
version = 2
root = "$CLUSTER/containerd"
state = "$CLUSTER/run/containerd"
[grpc]
  address = "$CONTAINERD"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/docbrain/pause:dev"
  # Without CAP_SYS_RESOURCE, pods may not be made less likely to be killed than containerd itself.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(plugins)"
    conf_dir = "$CLUSTER/cni"
END
  mkdir -p "$CLUSTER/cni"
  cat >"$CLUSTER/cni/pods.conflist" <<END
{
  "cniVersion": "0.4.0",
  "name": "$NETWORK",
  "plugins": [{
    "type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "$CLUSTER/run/addresses",
      "ranges": [[{ "subnet": "$PODS", "gateway": "$HOST" }]], "routes": [{ "dst": "0.0.0.0/0" }]
    }
  }]
}
END
  cat >"$CLUSTER/scheduler.yaml" <<END
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: { kubeconfig: $CLUSTER/scheduler.conf }
leaderElection: { leaderElect: false }
END
  cat >"$CLUSTER/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $HOST
port: $(kubelet_port)
healthzPort: 0
tlsCertFile: $CLUSTER/pki/server.crt
tlsPrivateKeyFile: $CLUSTER/pki/server.key
authentication:
  anonymous: { enabled: false }
  webhook: { enabled: false }
  x509: { clientCAFile: $CLUSTER/pki/ca.crt }
authorization: { mode: AlwaysAllow }
containerRuntimeEndpoint: unix://$CONTAINERD
cgroupDriver: cgroupfs
cgroupRoot: /$GROUP
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
evictionHard: {}
clusterDomain: cluster.local
clusterDNS: ["$HOST"]
registerNode: true
imageMinimumGCAge: 24h
serializeImagePulls: false
volumePluginDir: $CLUSTER/kubelet/plugins
podLogsDir: $CLUSTER/logs/pods
END
  cat >"$CLUSTER/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: { kubeconfig: $CLUSTER/proxy.conf }
mode: nftables
clusterCIDR: $PODS
healthzBindAddress: ""
metricsBindAddress: ""
nftables: { masqueradeAll: $masquerade }
conntrack: { maxPerCore: 0, min: 0 }
END
  # One list of names for the cluster, and the machine's own server for all others.
  cat >"$CLUSTER/Corefile" <<END
.:53 {
  bind $HOST
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $CLUSTER/admin.conf
    pods insecure
    fallthrough in-addr.arpa
  }
  forward . /etc/resolv.conf
}
END
}
