# Pods for the walk-through, to be sourced: each is a network namespace with eth0 and lo, all on one bridge.
# This shell has a network, mount and process namespace of its own, with an empty /run: all of it ends with this shell.

NODE=10.77.0.1
BROKER=10.77.9.9 BROKER_PORT=${KAFKA:+9092} # its address is set aside without it too
work=/run/demo
pids=()

# fail says what was waited for or asserted, and ends the demo.
fail() {
	printf '\ndemo: %s\n' "$*" >&2
	exit 1
}

# until_true SECONDS WHAT COMMAND... waits until the command succeeds.
until_true() {
	local limit=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$limit" ] || fail "waited in vain for $what"
		sleep 0.05
	done
}

# node makes the bridge that stands for the node. NODE is its address.
node() {
	ip link set lo up
	ip link add pods type bridge
	ip addr add "$NODE/16" dev pods
	ip link set pods up
}

# pod NAME ADDRESS makes a pod.
pod() {
	ip netns add "$1"
	ip link add "$2" type veth peer name eth0 netns "$1"
	ip link set "$2" master pods up
	ip -n "$1" link set lo up
	ip -n "$1" addr add "$2/16" dev eth0
	ip -n "$1" link set eth0 up
}

# within POD COMMAND... runs a command in a pod and waits for it.
within() {
	local pod=$1
	shift
	nsenter --net=/run/netns/"$pod" "$@"
}

# start LOG POD COMMAND... starts a command in a pod. $! is its own process, not a shell's: a function in the background would be one.
start() {
	local log=$1 pod=$2
	shift 2
	nsenter --net=/run/netns/"$pod" "$@" >"$log" 2>&1 </dev/null &
	pids+=($!)
}

# end PID... stops processes by SIGTERM, and waits for them.
end() {
	kill "$@" 2>/dev/null || true
	wait "$@" 2>/dev/null || true
}
