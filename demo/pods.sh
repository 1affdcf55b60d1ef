# Functions to be sourced for the pods of the walk-through: each is a network namespace with eth0 and lo,
# all on one bridge. This shell has network, mount and process namespaces of its own, with an empty /run,
# so everything ends with the shell.

NODE=10.77.0.1
BROKER=10.77.9.9 BROKER_PORT=${KAFKA:+9092} # the address is reserved also without a broker
work=/run/demo
pids=()

# fail prints the failed condition and ends the demo.
fail() {
	printf '\ndemo: %s\n' "$*" >&2
	exit 1
}

# until_true SECONDS WHAT COMMAND... waits until the command succeeds, for at most SECONDS. WHAT is for
# the error message.
until_true() {
	local limit=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$limit" ] || fail "timed out waiting for $what"
		sleep 0.05
	done
}

# node creates the bridge that represents the node, with the address NODE.
node() {
	ip link set lo up
	ip link add pods type bridge
	ip addr add "$NODE/16" dev pods
	ip link set pods up
}

# pod NAME ADDRESS creates a pod.
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

# start LOG POD COMMAND... starts a command in a pod in the background. $! is the command's own process,
# not a shell's.
start() {
	local log=$1 pod=$2
	shift 2
	nsenter --net=/run/netns/"$pod" "$@" >"$log" 2>&1 </dev/null &
	pids+=($!)
}

# end PID... ends processes by SIGTERM, and waits for them.
end() {
	kill "$@" 2>/dev/null || true
	wait "$@" 2>/dev/null || true
}
