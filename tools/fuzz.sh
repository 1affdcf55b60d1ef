#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other.
#   tools/fuzz.sh 30s       the time for each, or 1000x: the number of inputs
set -euo pipefail
time=${1:-30s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# `go test -list` prints a package's targets, then the line that names the package.
go test -list '^Fuzz' ./... >"$log" || { cat "$log"; exit 1; }
targets=$(awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' "$log")
[ -n "$targets" ] || { echo "fuzz: no targets"; exit 0; }

failed=0
while read -r package target; do
	echo "fuzz $target ($package, $time)"
	if go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" >"$log" 2>&1; then
		grep -E '^(ok|fuzz: elapsed)' "$log" | tail -2
	elif grep -q 'context deadline exceeded' "$log" && ! grep -Eq 'Failing input|panic' "$log"; then
		echo "fuzz: the time ran out while a worker was busy, which the go command calls a failure; no input failed"
	else
		cat "$log"
		failed=1
	fi
done <<<"$targets"
exit "$failed"
