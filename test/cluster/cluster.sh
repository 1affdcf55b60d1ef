#!/usr/bin/env bash
# Runs a real Kubernetes cluster with one node, for tests.
#
#   cluster.sh up WORK          start it (build.sh node first) and wait until it is Ready
#   cluster.sh down WORK        end it; only the logs remain in WORK
#   cluster.sh status WORK
#   cluster.sh load WORK TAR... import image archives
#   cluster.sh exec WORK CMD... run CMD in the cluster's network namespace, with its kubeconfig
#   cluster.sh enter WORK CMD.. run CMD in all of the node's namespaces
#
# It needs root. WORK/bin has the programs (or is a link to them); WORK/images/*.tar are imported at the start.
# The node has its own network, mount, PID, IPC, UTS and cgroup namespaces. So it reaches no other network, several nodes
# can run at the same time, and killing its first process ends everything in it. Its cgroups are children of the caller's, so
# limits on the caller apply to it. If WORK/owner.lock is locked at the start, the node ends when the lock is released: a test run
# that is killed leaves nothing running.
set -euo pipefail
kit=$(cd "$(dirname "$0")" && pwd)
cmd=${1:?usage: cluster.sh up|down|status|load|exec|enter WORK ...}
work=$(cd "${2:?WORK is missing}" && pwd)
shift 2
id=mt-$(printf %s "$work" | sha256sum | cut -c1-8)
state=$work/state
export KUBECONFIG=$state/pki/admin.kubeconfig

starttime() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
pid() { # prints the id of the node's first process, if it still runs
	local p start
	read -r p start 2>/dev/null <"$state/pid" || return 1
	[[ -n $start && $(starttime "$p") == "$start" ]] && echo "$p"
}
in_net() { nsenter -t "$(pid)" -n -- "$@"; }
in_node() { nsenter -t "$(pid)" -m -n -p -i -u -C -- "$@"; }
kubectl() { in_net "$work/bin/kubectl" "$@"; }

# Prints the folders of the node's cgroup, one in each hierarchy (only one with cgroup v2).
cgroups() {
	if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then
		echo "/sys/fs/cgroup$(cut -d: -f3 </proc/self/cgroup)/$id"
		return
	fi
	local ctl path
	while IFS=: read -r _ ctl path; do
		if [[ $ctl == name=* ]]; then ctl=${ctl#name=}; elif [[ -z $ctl ]]; then ctl=unified; fi
		[[ ! -d /sys/fs/cgroup/$ctl ]] || echo "/sys/fs/cgroup/$ctl${path%/}/$id"
	done </proc/self/cgroup
}

start() { # a subshell moves into the new cgroups and becomes the node
	setsid bash -c '
		while read -r d; do
			mkdir -p "$d"
			if [[ -e $d/cpuset.cpus && -z $(<"$d/cpuset.cpus") ]]; then
				cat "$d/../cpuset.cpus" >"$d/cpuset.cpus"; cat "$d/../cpuset.mems" >"$d/cpuset.mems"
			fi
			echo $BASHPID >"$d/cgroup.procs"
		done <"$1/state/cgroups"
		exec unshare --mount --net --pid --ipc --uts --cgroup --fork --kill-child \
			bash "$0/node.sh" "$1"' "$kit" "$work" </dev/null >"$work/logs/node/node.log" 2>&1 8>&- 9>&- &
	local waiter=$! deadline=$((SECONDS + 60)) p="" child
	until [[ -n $p ]]; do # unshare remains outside of the namespaces; its only child is PID 1 of the node
		if ! kill -0 $waiter 2>/dev/null || ((SECONDS > deadline)); then
			tail -5 "$work/logs/node/node.log" >&2
			return 1
		fi
		sleep 0.05
		for child in $(cat /proc/$waiter/task/*/children 2>/dev/null); do
			# Not those of the shell that started it, whose command line has that name too.
			[[ $(tr "\0" " " 2>/dev/null <"/proc/$child/cmdline") != "bash $kit/node.sh "* ]] || p=$child
		done
	done
	echo "$p $(starttime "$p")" >"$state/pid"
}

up() {
	if pid >/dev/null; then
		echo "already up" >&2
		return
	fi
	down
	rm -rf "$work/logs/node"
	mkdir -p "$state" "$work/logs/node" "$work/images"
	"$work/bin/labkit" pki -dir "$state/pki" -node node -server https://10.98.0.1:6443 \
		-sans 10.98.0.1,10.97.0.1,127.0.0.1,localhost,kubernetes,kubernetes.default,kubernetes.default.svc
	cgroups >"$state/cgroups"
	start
	local deadline=$((SECONDS + 120))
	until kubectl wait --for=condition=Ready node/node --timeout=5s >/dev/null 2>&1 &&
		kubectl get serviceaccount default >/dev/null 2>&1; do
		if ! pid >/dev/null || ((SECONDS > deadline)); then
			echo "the cluster did not come up; see $work/logs/node" >&2
			tail -n 3 "$work"/logs/node/*.log >&2
			return 1
		fi
		sleep 0.2
	done
}

down() {
	local p d i
	if p=$(pid); then
		kill -9 "$p" # PID 1 of a PID namespace: the kernel ends all of it
		for i in {1..100}; do
			[[ -e /proc/$p ]] || break
			sleep 0.05
		done
	fi
	if [[ -s $state/cgroups ]]; then
		while read -r d; do
			for i in {1..50}; do
				[[ -d $d ]] || break
				find "$d" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
			done
			[[ ! -d $d ]] || echo "could not remove cgroup $d" >&2
		done <"$state/cgroups"
	fi
	rm -rf "$state"
}

case $cmd in
up) up ;;
down) down ;;
status) p=$(pid) && echo "up, PID $p" && kubectl get nodes,pods -A -o wide ;;
load) for t in "$@"; do in_node "$work/bin/ctr" -n k8s.io images import --local "$(realpath "$t")"; done ;;
exec) in_net "$@" ;;
enter) in_node "$@" ;;
*)
	echo "no command $cmd" >&2
	exit 2
	;;
esac
