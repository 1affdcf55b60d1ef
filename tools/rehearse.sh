#!/usr/bin/env bash
# Rehearses a release as far as it goes without a registry and without the internet, except for Go's module proxy: see docs/release.md.
# It publishes nothing and signs with a throwaway key. As root on Debian, with buildah (tools/setup.sh image).
#   tools/rehearse.sh [VERSION]      default: the chart's version
# The tools are built once, into .cache/release (some 30 minutes on two cores; Go's caches grow by 5 GB); STEPS="archives sbom" runs only some steps.
set -euo pipefail
cd "$(dirname "$0")/.."

# The release workflow has the same versions: test/repository compares them.
goreleaser=github.com/goreleaser/goreleaser/v2@v2.15.1
syft=github.com/anchore/syft/cmd/syft@v1.57.1
cosign=github.com/sigstore/cosign/v2/cmd/cosign@v2.6.2
crane=github.com/google/go-containerregistry/cmd/crane@v0.21.3 # a registry in memory, for the rehearsal only

version=${1:-$(sed -n 's/^version: //p' charts/tap/Chart.yaml)}
steps=${STEPS:-archives version reproducible sbom sign chart images registry}
commit=$(git rev-parse HEAD)
bin=${RELEASE_TOOLS:-$PWD/.cache/release/bin}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
PATH=$bin:$PATH

fail() { echo "rehearse: $*" >&2; exit 1; }
step() { [[ " $steps " == *" $1 "* ]] && printf '== %s\n' "$1"; }

# need TOOL...: builds the tools that are not there yet.
need() {
	local tool
	mkdir -p "$bin"
	for tool in "$@"; do
		[ -x "$bin/$tool" ] || { echo "build $tool"; CGO_ENABLED=0 GOBIN=$bin nice -n 19 go install -trimpath -ldflags "-s -w" "${!tool}"; }
	done
}

# sbom FILE BINARY: the SBOM is valid SPDX and names each module that is linked into the binary.
sbom() {
	[ -x .cache/release/venv/bin/pyspdxtools ] || { python3 -m venv .cache/release/venv && .cache/release/venv/bin/pip install --quiet spdx-tools==0.8.5; }
	.cache/release/venv/bin/pyspdxtools --infile "$1" >"$work/spdx.log" 2>&1 || { cat "$work/spdx.log"; fail "$1 is not valid SPDX"; }
	python3 - "$1" <(go version -m "$2") <<-'E'
		import json, sys
		packages = {(p["name"], p.get("versionInfo", "")) for p in json.load(open(sys.argv[1]))["packages"]}
		linked = [line.split()[1:3] for line in open(sys.argv[2]) if line.split()[:1] == ["dep"]]
		absent = [m for m in linked if tuple(m) not in packages]
		if absent or not linked:
		    sys.exit(f"rehearse: {sys.argv[1]} lacks {absent} of {len(linked)} modules")
		print(f"{sys.argv[1].rsplit('/', 1)[-1]}: valid SPDX, {len(packages)} packages, all {len(linked)} modules of the binary")
	E
}

# archives DIR: clones the commit into DIR, with the tag that the release will have, and lets GoReleaser build it.
archives() {
	local log=$work/goreleaser.log
	need goreleaser syft
	git clone --quiet . "$1"
	git -C "$1" remote set-url origin https://github.com/meshtls-tap/meshtls-tap # GoReleaser derives the release's page from it
	git -C "$1" tag --force "v$version" >/dev/null
	(cd "$1" && goreleaser check && goreleaser release --clean --skip=publish,announce,sign) >"$log" 2>&1 || { cat "$log"; fail "goreleaser failed"; }
}

# newKey creates a throwaway key. The release itself signs without keys.
newKey() {
	need cosign
	export COSIGN_PASSWORD=rehearsal
	[ -e "$work/key.key" ] || cosign generate-key-pair --output-key-prefix "$work/key" 2>/dev/null
}

if step archives; then
	archives "$work/first"
	dist=$work/first/dist
	(cd "$dist" && sha256sum --check --quiet checksums.txt) || fail "a checksum is wrong"
	for product in "tap_$version" "kubectl-meshtls_v$version"; do
		for target in linux_amd64 linux_arm64 darwin_amd64 darwin_arm64 windows_amd64 windows_arm64; do
			file=$dist/${product}_$target.tar.gz list="tar -tzf" program=${product%%_*}
			case $target in windows*) file=${file%.tar.gz}.zip list="unzip -Z1" program+=.exe ;; esac
			held=$($list "$file" | sort | xargs)
			expected=$(printf '%s\n' CHANGELOG.md LICENSE NOTICES SECURITY.md "$program" | sort | xargs)
			[ "$held" = "$expected" ] || fail "$file holds $held"
			for name in "${file##*/}" "${file##*/}.spdx.json"; do
				grep -q "  $name$" "$dist/checksums.txt" || fail "checksums.txt lacks $name"
			done
			echo "${file##*/}: $held"
		done
	done
fi

if step version; then
	tar -xzf "$work/first/dist/tap_${version}_linux_$(go env GOHOSTARCH).tar.gz" -C "$work" tap
	said=$("$work/tap" --version)
	echo "$said"
	[[ $said == "tap v$version "*" commit $commit"* ]] || fail "tap --version does not name v$version and $commit"
fi

if step reproducible; then
	archives "$work/second"
	for file in "$work"/first/dist/*.{tar.gz,zip}; do
		cmp "$file" "$work/second/dist/${file##*/}" || fail "two builds of one commit differ: ${file##*/}"
	done
	echo "two builds of $commit in two folders: the same bytes"
fi

if step sbom; then
	for archive in "$work"/first/dist/*.tar.gz; do
		program=${archive##*/}
		program=${program%%_*}
		tar -xzf "$archive" -C "$work" "$program"
		sbom "$archive.spdx.json" "$work/$program"
	done
fi

if step sign; then
	newKey
	(
		cd "$work/first/dist"
		cosign sign-blob --key "$work/key.key" --tlog-upload=false --yes --bundle checksums.txt.sigstore.json checksums.txt >/dev/null 2>&1
		verify() { cosign verify-blob --key "$work/key.pub" --insecure-ignore-tlog=true --bundle checksums.txt.sigstore.json "$1"; }
		verify checksums.txt
		sed '1s/^./x/' checksums.txt >changed.txt
		! verify changed.txt 2>/dev/null || fail "a changed file verifies"
		echo "checksums.txt with one byte changed: refused"
	)
fi

if step chart; then
	helm() { "$helm" "$@"; }
	helm=$(test/cluster/build.sh helm)/bin/helm4
	for folder in first second; do
		mkdir "$work/chart-$folder"
		SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) helm package charts/tap --version "$version" --app-version "$version" --destination "$work/chart-$folder" >/dev/null
	done
	cmp "$work"/chart-*/"tap-$version.tgz" || fail "two packages of the chart differ"
	cp "$work/chart-first/tap-$version.tgz" "$work"
	helm show chart "$work/tap-$version.tgz" | grep -E '^(version|appVersion): '
	images=$(helm template tap "$work/tap-$version.tgz" --kube-version 1.31.0 | grep -oE 'ghcr.io/meshtls-tap/[^"[:space:]]+' | sort -u)
	echo "$images"
	[ "$(wc -l <<<"$images")" = 2 ] && ! grep -v ":$version$" <<<"$images" || fail "the chart's images are not at $version"
fi

if step images; then
	need syft
	tools/setup.sh image
	for fips in "" 1; do
		FIPS=$fips VERSION=v$version COMMIT=$commit image/build.sh
		for name in meshtls-tap meshtls-tap-webhook; do
			for arch in amd64 arm64; do
				image=dist/$name${fips:+-fips}-$arch.tar
				go run ./image/check "$name" "$image" "$work/binary" >/dev/null
				syft scan --quiet "oci-archive:$image" -o spdx-json="$work/${image##*/}.spdx.json"
				sbom "$work/${image##*/}.spdx.json" "$work/binary"
			done
		done
	done
fi
# Needs the steps chart and images (their archives are in dist/).
if step registry; then
	need crane
	newKey
	registry=127.0.0.1:5943
	crane registry serve --address "$registry" >"$work/registry.log" 2>&1 &
	server=$!
	for _ in {1..100}; do
		crane catalog "$registry" >/dev/null 2>&1 && break
		sleep 0.1
	done
	signed() { cosign verify --key "$work/key.pub" --insecure-ignore-tlog=true --allow-http-registry "$registry/$1" >/dev/null 2>&1; }
	sign() { cosign sign --key "$work/key.key" --tlog-upload=false --yes --allow-http-registry "$registry/$1" >/dev/null 2>&1; }

	helm push "$work/tap-$version.tgz" "oci://$registry/charts" --plain-http 2>&1 | tee "$work/push.txt"
	sign "charts/tap@$(sed -n 's/^Digest: //p' "$work/push.txt")"
	signed "charts/tap:$version" || fail "the chart's signature does not verify"

	for name in meshtls-tap meshtls-tap-webhook; do
		mkdir "$work/$name"
		tar -xf "dist/$name-amd64.tar" -C "$work/$name"
		digest=$(crane push "$work/$name" "$registry/$name:$version" 2>/dev/null)
		! signed "$name:$version" || fail "an image verifies before it is signed"
		sign "$name@${digest#*@}"
		signed "$name:$version" || fail "the signature of $name does not verify"
		echo "$name@${digest#*@}: signed and verified; refused before it was signed"
	done
fi
echo "rehearsed: $steps"
