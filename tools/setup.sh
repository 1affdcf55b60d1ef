#!/usr/bin/env bash
# Installs what a make target needs, if it is missing: Debian packages and, for tests with a real broker, Kafka's jars.
#   tools/setup.sh test|race|demo|image|compare|bench|tlslab
# Without root or apt it prints one line with the missing packages and succeeds: tests that need them skip and print why.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# The commands that a target runs, each as `command`, or as `command=package` if the package has another name.
network="ip=iproute2 nft=nftables tcpdump curl openssl"
broker="java=default-jre-headless mvn=maven kcat"
KAFKA=${KAFKA:-}
case "${1:-}" in
test)  wanted="$network ethtool $broker python3 venv=python3-venv tmux tshark chromium npm" ;;
race)  wanted="$network ethtool $broker python3 venv=python3-venv tmux tshark chromium npm gcc cc=libc6-dev" ;;
demo)  wanted="$network python3 venv=python3-venv"; [[ -z ${KAFKA#0} ]] || wanted+=" $broker" ;;
compare) wanted="tshark" ;;
bench) wanted="ip=iproute2 nft=nftables tcpdump tshark argus=argus-server softflowd ndpiReader=libndpi-bin wrk iperf3" ;;
tlslab) wanted="$network python3 venv=python3-venv javac=default-jdk-headless mvn=maven cargo cmake make gcc c++=g++ cc=libc6-dev xz=xz-utils escript=erlang-base erlang-ssl wolfssl=libwolfssl-dev gnutls-serv=gnutls-bin selfserv=libnss3-tools nginx=nginx-light haproxy stunnel=stunnel4" ;;
image) wanted="buildah busybox=busybox-static ca-certificates"; if docker info >/dev/null 2>&1; then wanted=""; fi ;;
*)     echo "usage: tools/setup.sh test|race|demo|image|compare|bench|tlslab" >&2; exit 2 ;;
esac

if ! command -v go >/dev/null; then
	echo "setup: Go is missing: install the version that go.mod names, see https://go.dev/doc/install" >&2
	exit 1
fi

have() {
	case "$1" in
	venv) python3 -c 'import ensurepip, venv' ;;
	cc) [ "$(uname)" != Linux ] || [ -e /usr/include/stdio.h ] ;;
	ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] ;;
	erlang-ssl) erl -noshell -eval '{ok, _} = application:ensure_all_started(ssl), halt().' ;;
	wolfssl) [ -e /usr/include/wolfssl/ssl.h ] ;;
	busybox) busybox true && ! ldd "$(command -v busybox)" ;; # the static one
	*) command -v "$1" ;;
	esac >/dev/null 2>&1
}

missing() {
	local want
	for want in $wanted; do
		have "${want%=*}" || echo "${want#*=}"
	done
}

jars() {
	[[ $wanted == *mvn* && -x test/kafka/kafka.sh ]] || return 0
	test/kafka/kafka.sh resolve || echo "setup: no Kafka jars: tests with a real broker skip"
}

cd "$(dirname "$0")/.."
packages=$(missing | xargs)
if [ -z "$packages" ]; then
	jars
	exit
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	[ "$1" != demo ] || exit 0 # the demo itself prints what is missing, and stops
	echo "setup: missing: $packages (installed only as root on Debian): tests that need them skip"
	jars
	exit
fi

echo "setup: apt-get install $packages"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1; }
# shellcheck disable=SC2086 # a list of names
{ apt update && apt install -y --no-install-recommends $packages; } || tail -5 "$log" >&2

packages=$(missing | xargs)
[ -z "$packages" ] || echo "setup: still missing: $packages: tests that need them skip"
jars
