#!/usr/bin/env bash
# Builds the lab's peer programs, runs all cases, and rewrites testdata: captures, manifest and scores.
#   run.sh [REGEXP]    only the cases that match, such as '^go/' or 'resume'
# Needs root on Linux. Cases of a peer that cannot be built are skipped. Files of cases that do not run stay unchanged.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
mkdir -p ../../.cache/tlslab
work=$(cd ../../.cache/tlslab && pwd)

# build NAME COMMAND...: runs the command, and prints its output only if it fails
build() {
	local name=$1
	shift
	"$@" >"$work/build.log" 2>&1 || { echo "tlslab: $name is left out:"; tail -5 "$work/build.log"; }
}

python() {
	[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
	"$work/venv/bin/pip" install -q --disable-pip-version-check -r peers/requirements.txt
}

node() { # Debian's is older
	mkdir -p "$work/node"
	[ -x "$work/node/node_modules/.bin/node" ] || (cd "$work/node" && npm install --no-audit --no-fund node@24)
}

rust() {
	mkdir -p "$work/rust"
	cp -r peers/rust/Cargo.toml peers/rust/src "$work/rust/"
	(cd "$work/rust" && cargo build --release)
}

# aws NAME SOURCE ARGUMENTS...: builds a peer that uses AWS-LC, which takes ten minutes once; s2n and rustls share it
aws() {
	local name=$1 source=$2
	shift 2
	mkdir -p "$work/$name"
	cp -r "peers/$source/Cargo.toml" "peers/$source/src" "$work/$name/"
	(cd "$work/$name" && CARGO_TARGET_DIR=$work/target cargo build --release "$@")
	cp "$work/target/release/peer" "$work/$name/peer"
}

# carried NAME CRATE VERSION: unpacks the source of a C or C++ stack, which the crate contains, into $work/NAME
carried() {
	mkdir -p "$work/$1"
	(cd "$work/$1" && cargo info -q "$2@$3" >/dev/null)
	source=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$2-$3" | head -1)
}

mbedtls() { # version 3, in its default configuration
	local source
	carried mbedtls mbedtls-rs-sys 0.3.1
	local tls=$source/mbedtls
	cc -O1 -I"$tls/include" -I"$tls/library" -I"$tls"/3rdparty/everest/include{,/everest} -I"$tls/3rdparty/p256-m/p256-m/include" \
		-o "$work/mbedtls/peer" peers/mbed3.c "$tls"/library/*.c "$tls"/3rdparty/everest/library/{everest,x25519,Hacl_Curve25519_joined}.c
}

botan() { # one file of 90,000 lines, which takes 2 GB and two minutes to compile
	local source
	carried botan botan-src 0.31300.1
	if [ ! -f "$work/botan/libbotan-3.a" ]; then
		tar -C "$work/botan" --strip-components=1 -xJf "$source"/vendor/Botan-*.tar.xz
		(cd "$work/botan" && ./configure.py --amalgamation --minimized-build --build-targets=static --without-documentation --no-install-python-module --cxxflags=-O1 \
			--enable-modules=tls12,tls13,tls_cbc,chacha20poly1305,ccm,x25519,pcurves_secp256r1,pcurves_secp384r1,emsa_pssr,auto_rng,system_rng,certstor_flatfile && make libs)
	fi
	c++ -std=c++20 -O1 -I"$work/botan" -o "$work/botan/peer" peers/botan.cpp "$work/botan/libbotan-3.a"
}

jars() { # other TLS providers for Java
	[ -d "$work/jars" ] || mvn -q -f peers/pom.xml dependency:copy-dependencies -DoutputDirectory="$work/jars"
}

build "JSSE" javac -d "$work" peers/Peer.java
build "Bouncy Castle and Conscrypt" jars
build "wolfSSL" cc -O1 -Wall -o "$work/wolf" peers/wolf.c -lwolfssl
build "rustls" rust
build "Mbed TLS 3" mbedtls
build "Botan" botan
build "s2n" aws s2n s2n
build "rustls aws-lc" aws awslc rust --no-default-features --features awslc
build "what is in Python" python
build "Node" node
printf 'GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\n\r\n' >"$work/early"

go build -o "$work/lab" ./lab
"$work/lab" -out "$here/testdata" -work "$work" -peers "$here/peers" "${1:-}"
go test . -count=1 -run '^TestScore$' -update -v
