#!/usr/bin/env bash
# PID 1 of the test node. cluster.sh starts it in new namespaces.
#   node.sh WORK
set -euo pipefail
work=$1
state=$work/state log=$work/logs/node pki=$state/pki
export PATH=$work/bin:$work/deb/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export LD_LIBRARY_PATH=$(echo "$work"/deb/usr/lib/*-linux-gnu) XTABLES_LIBDIR=$(echo "$work"/deb/usr/lib/*-linux-gnu/xtables)
ip=10.98.0.1 services=10.97.0.0/16 pods=10.96.0.0/24

# --- mounts of the node only -------------------------------------------
v2=$([[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]] && echo yes || echo no)
v1=() # the hierarchies of cgroup version 1 on this machine, such as cpu or cpu,cpuacct
while IFS=: read -r _ ctl _; do [[ -n $ctl ]] && v1+=("$ctl"); done < /proc/self/cgroup
mount --make-rprivate /
mount -t proc proc /proc
umount -R -l /sys                    # also unmounts the cgroup mounts of the machine
mount -t sysfs sysfs /sys            # for the new network namespace
if [[ $v2 == yes ]]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup # in the cgroup namespace the node's cgroup is the root
	mkdir -p /sys/fs/cgroup/system          # a cgroup with controllers in its children may have no processes
	for p in $(cat /sys/fs/cgroup/cgroup.procs); do echo "$p" > /sys/fs/cgroup/system/cgroup.procs 2>/dev/null || true; done
	sed 's/[a-z_]\+/+&/g' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
else
	mount -t tmpfs -o mode=755,size=1m tmpfs /sys/fs/cgroup
	for ctl in "${v1[@]}"; do
		dir=/sys/fs/cgroup/${ctl#name=}
		mkdir "$dir"
		mount -t cgroup -o "$ctl" cgroup "$dir"
	done
fi
# The kubelet sets a few sysctls of the machine, which must not change. It gets
# ordinary files in their place that already have the values it wants.
while read -r key value; do
	[[ -e /proc/sys/$key ]] || continue
	echo "$value" > "$state/sysctl.${key//\//.}"
	mount --bind "$state/sysctl.${key//\//.}" "/proc/sys/$key"
done <<'KEYS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
KEYS
mkdir -p "$state"/var/{lib,log} "$state/etcd"
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$state/var/lib" /var/lib
mount --bind "$state/var/log" /var/log
mount --make-rshared /               # the kubelet needs mount propagation
hostname node

# --- network: lo, a link for the node's address, and the bridge of the pods
ip link set lo up
ip link add node0 type veth peer name node1 # not every kernel has the type "dummy"
ip addr add $ip/24 dev node0
ip link set node1 up
ip link set node0 up
ip route add $services dev node0     # so that packets to Services pass the rules of kube-proxy
echo 1 > /proc/sys/net/ipv4/ip_forward
mkdir -p "$state/cni" "$state/cni-bin" # tests add plugins to the latter
cat > "$state/cni/10-pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods0",
 "isGateway": true, "hairpinMode": true, "ipMasq": false,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
: > "$state/resolv.conf"

# --- container runtime -----------------------------------------------------
cat > "$state/containerd.toml" <<TOML
version = 3
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile"]
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "meshtls.test/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true # does not need CAP_SYS_RESOURCE
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$work/bin", "$state/cni-bin"]
    conf_dir = "$state/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "$work/bin/runc"
      SystemdCgroup = false
TOML
cat > "$state/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: $state/resolv.conf
clusterDomain: cluster.local
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
failSwapOn: false
maxPods: 240
healthzPort: 0
volumePluginDir: $state/volumeplugins
staticPodPath: ""
syncFrequency: 10s # how often mounted ConfigMaps are updated; default 1m
YAML

# Starts a daemon with its own log. It is never restarted: if it ends, tests fail.
start() { local name=$1; shift; "$@" > "$log/$name.log" 2>&1 & echo $! > "$state/$name.pid"; }
wait_for() { # SECONDS CMD...
	local end=$((SECONDS + $1)); shift
	until "$@" > /dev/null 2>&1; do
		if ((SECONDS > end)); then echo "timed out: $*" >&2; return 1; fi
		sleep 0.1
	done
}
stamp() { echo "$(date +%s.%N) $*"; }

stamp start
start containerd containerd -c "$state/containerd.toml"
start etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
	--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
	--listen-peer-urls http://127.0.0.1:0
start kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
	--bind-address $ip --advertise-address $ip --secure-port 6443 \
	--tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
	--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
	--kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
	--kubelet-preferred-address-types InternalIP \
	--service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/sa.key" \
	--service-account-signing-key-file "$pki/sa.key" --service-cluster-ip-range $services \
	--enable-aggregator-routing=true --allow-privileged=true
wait_for 60 kubectl --kubeconfig "$pki/admin.kubeconfig" get --raw /readyz
stamp apiserver ready
start kube-controller-manager kube-controller-manager --kubeconfig "$pki/kube-controller-manager.kubeconfig" \
	--service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" --use-service-account-credentials --kube-api-qps 500 --kube-api-burst 500 \
	--leader-elect=false --bind-address 127.0.0.1
start kube-scheduler kube-scheduler --kubeconfig "$pki/kube-scheduler.kubeconfig" \
	--leader-elect=false --bind-address 127.0.0.1
wait_for 30 ctr version
for t in "$work"/images/*.tar; do ctr -n k8s.io images import --local "$t"; done
stamp images loaded
start kubelet kubelet --config "$state/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
	--root-dir /var/lib/kubelet --cert-dir "$state/kubelet-pki" --hostname-override node --node-ip $ip
start kube-proxy kube-proxy --kubeconfig "$pki/kube-proxy.kubeconfig" --hostname-override node \
	--proxy-mode iptables --cluster-cidr $pods --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
stamp all started

# If the lock was held at the start, its holder owns this node: when the lock is released, for any reason, this process and the node end.
if [[ -e $work/owner.lock ]] && ! flock --nonblock --shared "$work/owner.lock" true; then
	flock --shared "$work/owner.lock" true &
	owner=$!
	while kill -0 $owner 2>/dev/null; do wait -n || true; done
	exit
fi
while :; do wait -n || true; sleep 1; done # waits for ended children until it is killed
