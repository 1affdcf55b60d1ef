#!/usr/bin/env bash
# Builds internal/htmlreport/charts.min.js from the packages that package-lock.json pins. The same versions make the same bytes.
#   internal/htmlreport/bundle/build.sh          write charts.min.js
#   internal/htmlreport/bundle/build.sh -check   fail if charts.min.js differs from what would be written
#   internal/htmlreport/bundle/build.sh install  only install the packages, in .cache/report: the tests need axe-core
# It needs node and npm.
set -euo pipefail
cd "$(dirname "$0")"
output=$PWD/../charts.min.js
cache=$(cd ../../.. && pwd)/.cache/report
mkdir -p "$cache"

exec 9>"$cache/lock"
flock 9
if ! cmp -s package-lock.json "$cache/installed"; then
	rm -f "$cache/installed"
	cp package.json package-lock.json "$cache"
	npm ci --prefix "$cache" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
	cp package-lock.json "$cache/installed"
fi
[ "${1:-}" != install ] || exit 0

cp charts.js "$cache"
new=$(mktemp)
trap 'rm -f "$new"' EXIT

# The header has the licenses of these packages, and of the works that zrender's sources name (MIT.txt).
packages() {
	node -p "[...new Set(Object.entries(Object.values(require('$cache/inputs.json').outputs)[0].inputs)
		.filter(([f, v]) => v.bytesInOutput > 0 && f.startsWith('node_modules/'))
		.map(([f]) => f.match(/^node_modules\/((@[^/]+\/)?[^/]+)/)[1]))].sort().join(' ')"
}

{
	echo "/*!"
	cat "$cache/node_modules/echarts/NOTICE"
	echo
	echo
	echo "Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0"
	echo "This is a minified selection of Apache ECharts $(node -p "require('$cache/node_modules/echarts/package.json').version"). It contains parts of d3, zrender and tslib. Their licenses:"
	echo
	echo "d3"
	cat "$cache/node_modules/echarts/licenses/LICENSE-d3"
	echo
	echo "zrender"
	cat "$cache/node_modules/zrender/LICENSE"
	echo
	echo
	echo "tslib"
	cat "$cache/node_modules/tslib/LICENSE.txt"
	echo
	cat MIT.txt
	echo "*/"
	(cd "$cache" && node_modules/.bin/esbuild charts.js --bundle --minify --format=iife --global-name=charts --target=es2020 --charset=ascii --legal-comments=none --log-level=warning --metafile=inputs.json --outfile=bundle.js)
	cat "$cache/bundle.js"
} | tr -d '\r' >"$new"
[ "$(packages)" = "echarts tslib zrender" ] || {
	echo "the bundle contains $(packages): add the licenses of new packages to its header" >&2
	exit 1
}

if [ "${1:-}" = -check ]; then
	cmp "$new" "$output"
else
	cp "$new" "$output"
	echo "charts.min.js: $(wc -c <"$output") bytes"
fi
