#!/usr/bin/env bash
# Runs tests in a temporary directory of their own. Fails if files in it or processes remain.
#   tools/tidy.sh COMMAND [ARGUMENT...]
# It removes both, also after a failure or Ctrl-C. If it is killed, the next run removes them.
set -euo pipefail
base=${TMPDIR:-/tmp}
for old in "$base"/meshtls-tap-test.*; do
	[ ! -d "$old" ] || kill -0 "${old##*.}" 2>/dev/null || rm -rf "$old"
done

export TMPDIR=$base/meshtls-tap-test.$$
mkdir -m 755 "$TMPDIR" # some tests run programs in it as another user

# The processes of this run that have not ended: each has this run's TMPDIR in its environment.
processes() {
	local p
	for p in /proc/[0-9]*; do
		[ "${p#/proc/}" = $$ ] || [ "${p#/proc/}" = "$BASHPID" ] || ! tr '\0' '\n' <"$p/environ" | grep -qxF "TMPDIR=$TMPDIR" || echo "${p#/proc/}"
	done 2>/dev/null
}

# A killed process needs some time to end, so wait before a process counts as one that remains.
left_processes() {
	local pids try
	for try in $(seq 120); do
		pids=$(processes)
		[ -n "$pids" ] || return 0
		sleep 0.5
	done
	for try in $pids; do
		printf '%s %s\n' "$try" "$(tr '\0' ' ' <"/proc/$try/cmdline" 2>/dev/null | cut -c1-200)"
		kill -KILL "$try" 2>/dev/null || true
	done
}

code=0
over() {
	trap - EXIT INT TERM HUP
	local running="" files=""
	if [ "$code" -lt 128 ]; then
		running=$(left_processes)
		files=$(cd "$TMPDIR" && find . -mindepth 1 -maxdepth 2 ! -path './go-build*' | sort | head -40)
	else # by a signal: what was told to end gets a moment, no more
		for pid in $(processes); do kill -TERM "$pid" 2>/dev/null || true; done
		for _ in $(seq 20); do [ -n "$(processes)" ] || break; sleep 0.5; done
		for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
	fi
	chmod -R u+w "$TMPDIR" 2>/dev/null || true
	rm -rf "$TMPDIR"
	if [ -n "$running$files" ]; then
		echo "tests left behind (removed now):"
		printf '%s\n' ${running:+"$running"} ${files:+"$files"}
		[ "$code" != 0 ] || code=1
	fi
	exit "$code"
}
trap over EXIT
trap 'code=130; exit' INT
trap 'code=143; exit' TERM HUP
"$@" || code=$?
