#!/usr/bin/env bash
# Runs the tests in this folder: builds the programs, starts the tier that the tests need, and ends it afterwards.
#
#   run.sh api|node|chart [GO TEST FLAGS]
#
# If this machine cannot run a tier, the script prints the reason in one line and succeeds: the tests are skipped.
set -euo pipefail
cd "$(dirname "$0")"
tier=${1:?usage: run.sh api|node|chart [GO TEST FLAGS]}
shift
cache=${CLUSTER_CACHE:-$(cd ../.. && pwd)/.cache/cluster}
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local CLUSTER_CACHE=$cache
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$cache"

say() { echo "test/cluster: $*" >&2; }
skip() {
	say "$tier tests skipped: $*"
	exit 0
}
# The same flags as in build.sh, so that Go's build cache is used.
gotest() { ${GOTEST:-go test} -trimpath -tags grpcnotrace -count=1 "$@"; }

able() { # prints why this machine cannot run a node; nothing if it can
	local c
	[[ $(uname) == Linux ]] || { echo "a node needs Linux"; return; }
	[[ $(id -u) == 0 ]] || { echo "a node needs root"; return; }
	for c in ip nsenter unshare flock setpriv; do
		command -v "$c" >/dev/null || { echo "$c is missing (apt-get install iproute2 util-linux)"; return; }
	done
	command -v apt-get >/dev/null || ls -d "$cache"/*/deb >/dev/null 2>&1 || { echo "apt-get is missing, which is needed to download runc"; return; }
	unshare --mount --net --pid --ipc --uts --cgroup --fork true 2>/dev/null || { echo "namespaces cannot be created here (in a container: run it privileged)"; return; }
	local probe
	probe=$(cgroup)/mt-probe-$$
	if mkdir "$probe" 2>/dev/null; then rmdir "$probe"; else echo "cgroups cannot be created below $(cgroup)"; fi
}
cgroup() { # prints one of the folders in which cluster.sh creates cgroups
	if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then
		echo "/sys/fs/cgroup$(cut -d: -f3 </proc/self/cgroup)"
	else
		echo "/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)"
	fi
}

work="" # the folder of this run: two may run at the same time
over() {
	trap - EXIT
	if [[ -n $work ]]; then
		[[ $tier != node ]] || ./cluster.sh down "$work" || true
		rm -rf "$cache/logs-$tier"
		[[ ! -d $work/logs ]] || mv "$work/logs" "$cache/logs-$tier"
		rm -rf "$work"
	fi
}
trap over EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

sweep() { # removes the folders and empty cgroups of runs that were killed
	local old
	for old in "$cache"/run-*; do
		[[ -e $old/owner.lock ]] && flock --nonblock "$old/owner.lock" true || continue
		./cluster.sh down "$old"
		rm -rf "$old"
	done
}

workdir() { # BUILT
	sweep
	work=$(mktemp -d "$cache/run-$tier-XXXX")
	mkdir "$work/images" "$work/logs"
	ln -s "$1/bin" "$1/deb" "$work/"
	for t in "$1"/images/*.tar; do [[ ! -e $t ]] || ln -s "$t" "$work/images/"; done
	# If this process is killed, the kernel releases this lock, and the node ends.
	exec 9>"$work/owner.lock"
	flock 9
}

step() { # NAME: prints how long the previous step took
	[[ -z ${begun:-} ]] || say "$begun took $((SECONDS - since)) s"
	begun=$1 since=$SECONDS
}

product() { # builds the product's programs, unless PRODUCT is a folder that has them
	local out=$work/product
	[[ -z ${PRODUCT:-} ]] || return 0
	mkdir "$out"
	(cd ../.. && go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=test" -o "$out/" ./cmd/tap ./cmd/tap-webhook ./cmd/kubectl-meshtls)
	export PRODUCT=$out
}

case $tier in
api)
	command -v setpriv >/dev/null || skip "setpriv is missing (apt-get install util-linux)"
	./build.sh api >/dev/null
	built=$(./build.sh helm)
	workdir "$built"
	product
	export CLUSTER_WORK=$work CLUSTER_TIER=api
	# shellcheck disable=SC2086 # a command and its arguments
	./apiserver.sh "$work" ${GOTEST:-go test} -trimpath -tags grpcnotrace -count=1 -timeout 30m ./api "$@" 9>&-
	;;
node)
	why=$(able)
	[[ -z $why ]] || skip "$why"
	step "Kubernetes and the node's parts (build.sh node)"
	built=$(./build.sh node)
	step "Helm (build.sh helm)"
	./build.sh helm >/dev/null
	workdir "$built"
	step "the product"
	product
	step "the node's start"
	./cluster.sh up "$work" 9>&-
	step "the walk-through's parts (walk.sh)"
	walk=$(./walk.sh "$work") || walk="WALK_MISSING='what walk.sh downloads and builds: see above'"
	eval "$walk"
	step "the tests"
	export CLUSTER_WORK=$work CLUSTER_TIER=node WALK_ENVOY WALK_HTTPBIN WALK_CERTS WALK_MISSING
	status=0
	gotest -v -timeout 30m -parallel 8 ./node "$@" 9>&- || status=$?
	step "the end"
	say "all of it took $SECONDS s"
	exit $status
	;;
chart)
	built=$(./build.sh chart)
	export CHART_TOOLS=$built
	gotest ./chart "$@"
	;;
*)
	say "no tests named $tier"
	exit 2
	;;
esac
