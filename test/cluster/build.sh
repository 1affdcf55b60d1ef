#!/usr/bin/env bash
# Builds the programs of the tests, once, and prints the folder with them.
#
#   build.sh api      Kubernetes and etcd in one executable, and the tests' two programs
#   build.sh node     these, and the parts of a node: containerd, CNI plugins, runc, iptables, images
#   build.sh helm     Helm 3 and 4, for the tests in a cluster
#   build.sh chart    these, and helm-unittest, kubeconform, kube-score and the schemas of this Kubernetes
#
# The folder is .cache/cluster/KEY, where KEY depends on the modules (go.mod, go.sum), the sources in cmd/ and the version of Go. A
# second call builds nothing. CLUSTER_CACHE replaces .cache/cluster. It needs Go, and for "node" apt-get and dpkg: Debian's runc is
# downloaded and unpacked, but not installed (its support for seccomp needs cgo and libseccomp).
set -euo pipefail
cd "$(dirname "$0")"
part=${1:?usage: build.sh api|node|helm|chart}
cache=${CLUSTER_CACHE:-$(cd ../.. && pwd)/.cache/cluster}
key=$({ go version; cat go.mod go.sum {ctrd,score}/go.{mod,sum} build.sh cmd/*/*.go; } | sha256sum | cut -c1-12)
out=$cache/$key
mkdir -p "$out"/{bin,images}
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local

say() { echo "test/cluster: $*" >&2; }

once() { # PART: calls build_PART unless the part is built already
	[[ ! -e $out/$1.done ]] || return 0
	local begin=$SECONDS
	"build_$1"
	touch "$out/$1.done"
	say "built $1 in $((SECONDS - begin)) s, once"
}

# Reads the output of `go build -v`, which has a package in each line. Prints the progress every 30 s. Other output of Go goes to stderr.
progress() { # OF: the number of packages
	local of=$1 n=0 begin=$SECONDS next=$((SECONDS + 30)) line
	while IFS= read -r line; do
		if [[ $line == *[[:space:]]* ]]; then
			echo "$line" >&2
		else
			n=$((n + 1))
		fi
		if ((SECONDS >= next)); then
			say "  $n of at most $of packages compiled after $((SECONDS - begin)) s"
			next=$((SECONDS + 30))
		fi
	done
	say "  $n packages compiled, all linked after $((SECONDS - begin)) s"
}

build() { # MODULE OUT LDFLAGS PACKAGE...
	local module=$1 to=$2 flags=$3
	shift 3
	say "building $*"
	(cd "$module" && go build -v -trimpath -tags grpcnotrace -ldflags "-s -w $flags" -o "$out/bin/$to" "$@" 2>&1) |
		progress "$(cd "$module" && go list -deps "$@" | wc -l)"
}

build_api() {
	say "Kubernetes is built once: some 10 minutes on two idle cores if nothing of it is in Go's cache"
	build . "" "" ./cmd/labkit ./cmd/probe
	# The version must be set: the programs compare it with the API server's.
	local version minor flags="" p
	version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
	minor=${version#v1.} minor=${minor%%.*}
	for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags+=" -X $p.gitVersion=$version -X $p.gitMajor=1 -X $p.gitMinor=$minor"
	done
	build . kube "$flags" ./cmd/kube
	for p in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
		ln -sfn kube "$out/bin/$p"
	done
}

build_node() {
	local containerd=github.com/containerd/containerd/v2/cmd cni=github.com/containernetworking/plugins/plugins
	build ctrd "" "" "$containerd/containerd" "$containerd/containerd-shim-runc-v2" "$containerd/ctr" \
		"$cni/main/bridge" "$cni/main/loopback" "$cni/ipam/host-local"
	debs
	image() { "$out/bin/labkit" image -o "$out/images/$1.tar" -ref "meshtls.test/$1:1" -bin "$out/bin/probe"; }
	image pause
	image probe
}

debs() { # kube-proxy needs iptables and its libraries
	local part=$out/deb.part d t s
	rm -rf "$part" "$out/deb"
	mkdir -p "$part/dl"
	(cd "$part/dl" && apt-get download -q runc iptables libip6tc2 libnftnl11 libnetfilter-conntrack3 libnfnetlink0 libseccomp2 >"$part/log" 2>&1) || {
		tail -3 "$part/log" >&2
		return 1
	}
	for d in "$part"/dl/*.deb; do dpkg -x "$d" "$part"; done
	rm -rf "$part/dl"
	mv "$part" "$out/deb"
	ln -sfn ../deb/usr/sbin/runc "$out/bin/runc"
	for t in iptables ip6tables; do # the names that the alternatives system would create
		for s in "" -save -restore; do ln -sfn ../deb/usr/sbin/xtables-nft-multi "$out/bin/$t$s"; done
	done
}

module() { go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)",/\1/p'; } # prints its folder; Go verifies it with the checksum database

build_helm() {
	local version minor
	version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
	minor=${version#v1.} minor=${minor%%.*}
	# Helm 3 takes the default version of Kubernetes from these flags, Helm 4 from its build information.
	local k=helm.sh/helm/v3/pkg/chartutil l=helm.sh/helm/v3/pkg/lint/rules
	build . helm3 "-X $k.k8sVersionMajor=1 -X $k.k8sVersionMinor=$minor -X $l.k8sVersionMajor=1 -X $l.k8sVersionMinor=$minor" helm.sh/helm/v3/cmd/helm
	build . helm4 "" helm.sh/helm/v4/cmd/helm
}

build_chart() {
	build . "" "" github.com/helm-unittest/helm-unittest/cmd/helm-unittest github.com/yannh/kubeconform/cmd/kubeconform
	build score "" "" github.com/zegl/kube-score/cmd/kube-score
	local operator certmanager
	operator=$(module github.com/prometheus-operator/prometheus-operator@v0.85.0)/example/prometheus-operator-crd
	certmanager=$(module github.com/cert-manager/cert-manager@v1.21.2)/deploy/crds
	go run -trimpath ./cmd/schemas "$out/schemas" "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/api/openapi-spec/swagger.json" \
		"$operator"/monitoring.coreos.com_{podmonitors,prometheusrules}.yaml "$certmanager"/cert-manager.io_{certificates,issuers}.yaml
}

# If two calls run at the same time, the second one waits.
exec 7>"$cache/lock"
flock 7
case $part in
api) once api ;;
node) once api && once node ;;
helm) once helm ;;
chart) once helm && once chart ;;
*)
	say "no part $part"
	exit 2
	;;
esac
# The results of older versions are not needed any more.
find "$cache" -mindepth 1 -maxdepth 1 -type d -name '????????????' ! -name "$key" -mtime +1 -exec rm -rf {} +
echo "$out"
