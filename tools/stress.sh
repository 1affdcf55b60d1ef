#!/usr/bin/env bash
# Runs a command beside busy processes of the same priority: tests that pass do not need an idle machine.
#   tools/stress.sh COUNT COMMAND [ARGUMENT...]
# The busy processes end with the command. If this script is killed, they end by themselves.
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
