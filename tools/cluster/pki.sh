#!/usr/bin/env bash
# Makes the keys and certificates of a test cluster, once, and the kubeconfigs of its programs. Called by up.sh.
# All of it is readable for its owner alone: whoever has admin.conf rules the cluster.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
command -v openssl >/dev/null || cannot "keys are made by openssl, which is not installed (apt-get install -y openssl)"
umask 077
mkdir -p "$CLUSTER/pki"
cd "$CLUSTER/pki"

key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

certificate() { # name, subject, extension of the server
  [ -s "$1.crt" ] && return
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" -days 3650 -out "$1.new" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n%s\n' "${3:-}") 2>/dev/null
  rm "$1.csr"
  mv "$1.new" "$1.crt"
}

kubeconfig() { # name
  cat >"../$1.conf" <<END
apiVersion: v1
kind: Config
clusters:
  - name: docbrain
    cluster:
      server: https://$(address):$(apiserver_port)
      certificate-authority-data: $(base64 -w 0 <ca.crt)
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w 0 <"$1.crt")
      client-key-data: $(base64 -w 0 <"$1.key")
contexts:
  - name: docbrain
    context: { cluster: docbrain, user: $1 }
current-context: docbrain
END
}

if [ ! -s ca.crt ]; then
  key ca
  openssl req -x509 -new -key ca.key -subj "/CN=docbrain test cluster" -days 3650 -out ca.new \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  mv ca.new ca.crt
fi
if [ ! -s sa.pub ]; then
  key sa
  openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
fi
certificate server /CN=kube-apiserver \
  "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$FIRST_SERVICE,IP:$HOST"
certificate admin /O=system:masters/CN=admin
kubeconfig admin
certificate controller-manager /CN=system:kube-controller-manager
kubeconfig controller-manager
[ "$(tier)" = node ] || exit 0
certificate scheduler /CN=system:kube-scheduler
kubeconfig scheduler
certificate kubelet "/O=system:nodes/CN=system:node:$NODE"
kubeconfig kubelet
certificate proxy /CN=system:kube-proxy
kubeconfig proxy
