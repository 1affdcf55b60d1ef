#!/usr/bin/env bash
# Builds the lab's peers, lets all stacks talk, and writes testdata anew: captures, manifest and scores.
#   run.sh [REGEXP]    of the cases, such as '^go/' or 'resume'
# Needs root on Linux. A peer that cannot be built is left out, and its cases are skipped; what is not run stays as it is.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
mkdir -p ../../.cache/tlslab
work=$(cd ../../.cache/tlslab && pwd)

# build NAME COMMAND...: its output only if it fails
build() {
	local name=$1
	shift
	"$@" >"$work/build.log" 2>&1 || { echo "tlslab: $name is left out:"; tail -5 "$work/build.log"; }
}

python() {
	[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
	"$work/venv/bin/pip" install -q --disable-pip-version-check -r peers/requirements.txt
}

node() { # the one of Debian is older
	mkdir -p "$work/node"
	[ -x "$work/node/node_modules/.bin/node" ] || (cd "$work/node" && npm install --no-audit --no-fund node@24)
}

rust() {
	mkdir -p "$work/rust"
	cp -r peers/rust/Cargo.toml peers/rust/src "$work/rust/"
	(cd "$work/rust" && cargo build --release)
}

# aws NAME SOURCE ARGUMENTS...: a peer on AWS-LC, which takes ten minutes to build: s2n and rustls share it
aws() {
	local name=$1 source=$2
	shift 2
	mkdir -p "$work/$name"
	cp -r "peers/$source/Cargo.toml" "peers/$source/src" "$work/$name/"
	(cd "$work/$name" && CARGO_TARGET_DIR=$work/target cargo build --release "$@")
	cp "$work/target/release/peer" "$work/$name/peer"
}

jars() { # other providers for Java
	[ -d "$work/jars" ] || mvn -q -f peers/pom.xml dependency:copy-dependencies -DoutputDirectory="$work/jars"
}

build "JSSE" javac -d "$work" peers/Peer.java
build "Bouncy Castle and Conscrypt" jars
build "wolfSSL" cc -O1 -Wall -o "$work/wolf" peers/wolf.c -lwolfssl
build "rustls" rust
build "s2n" aws s2n s2n
build "rustls aws-lc" aws awslc rust --no-default-features --features awslc
build "what is in Python" python
build "Node" node
printf 'GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\n\r\n' >"$work/early"

go build -o "$work/lab" ./lab
"$work/lab" -out "$here/testdata" -work "$work" -peers "$here/peers" "${1:-}"
go test . -count=1 -run '^TestScore$' -update -v
