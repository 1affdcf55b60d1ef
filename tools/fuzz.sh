#!/usr/bin/env bash
# Runs all fuzz targets of the module, one after the other. It builds the test binary of each package once: `go test -fuzz` would link it
# for each target, which takes longer than a short run.
#   tools/fuzz.sh 30s       the time for each target; or 1000x, the number of inputs
# An input that fails is printed and stored in the package's testdata/fuzz, from where `go test` runs it. Other interesting inputs go to
# FUZZ_CACHE (default: the cache of `go test -fuzz`), and the next run starts with them.
set -euo pipefail
time=${1:-30s}
cd "$(dirname "$0")/.."
module=$(go list -m)
cache=${FUZZ_CACHE:-$(go env GOCACHE)/fuzz}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log failed=0

# fuzz TARGET: in the package's folder, as `go test` runs tests.
fuzz() {
	"$work/test" -test.run '^$' -test.fuzz "^$1\$" -test.fuzztime "$time" -test.fuzzcachedir "$cache/$package" -test.paniconexit0 >"$log" 2>&1
}

while read -r folder; do
	package=$module/$folder
	go test -c -fuzz=. -o "$work/test" "./$folder"
	cd "$folder"
	for target in $("$work/test" -test.list '^Fuzz'); do
		echo "fuzz $target ($folder, $time)"
		if fuzz "$target"; then
			grep '^fuzz: elapsed' "$log" | tail -1
		elif grep -q 'context deadline exceeded' "$log" && ! grep -Eq 'Failing input|panic' "$log"; then
			echo "fuzz: the time ran out while a worker was busy, which counts as a failure; no input failed"
		else
			cat "$log"
			input=$(sed -n 's/^ *Failing input written to //p' "$log")
			[ ! -f "$input" ] || { echo "$folder/$input:"; cat "$input"; }
			failed=1
		fi
	done
	cd - >/dev/null
done < <(grep -rl --include='*_test.go' --exclude-dir=.cache --exclude-dir=.git '^func Fuzz' . | sed 's#^\./##; s#/[^/]*$##' | sort -u)
exit "$failed"
