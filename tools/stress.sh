#!/usr/bin/env bash
# Runs a command next to busy processes of the same priority: what passes here depends on no idle machine.
#   tools/stress.sh COUNT COMMAND [ARGUMENT...]
# The busy ones end with the command, and by themselves where this script is killed.
set -euo pipefail
count=$1
shift
pids=() command=
over() {
	trap - EXIT
	for pid in "${pids[@]}" ${command:+"$command"}; do
		kill "$pid" 2>/dev/null || true
	done
	wait "${pids[@]}" 2>/dev/null || true
}
trap over EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
busy() {
	while kill -0 $$ 2>/dev/null; do
		for ((i = 0; i < 100000; i++)); do :; done
	done
}
for ((n = 0; n < count; n++)); do
	busy &
	pids+=($!)
done
echo "stress: $count busy processes on $(nproc) processors"
code=0
"$@" & # in the background, so that a signal is heard at once
command=$!
wait "$command" || code=$?
echo "stress: load average $(cut -d' ' -f1-3 /proc/loadavg)"
exit "$code"
