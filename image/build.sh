#!/usr/bin/env bash
# Builds both images for amd64 and arm64, checks them, and writes each to dist/NAME-ARCH.tar (an OCI archive).
# It uses docker if its daemon runs, else buildah (as root, without network). Both build the same Dockerfile; for buildah a shell with
# this machine's own Go and caches, mounted, replaces the golang image.
#   VERSION=v1.2.3 COMMIT=HASH image/build.sh [NAME...]
# FIPS=1 builds both in FIPS 140-3 mode, with Go's validated cryptographic module: dist/NAME-fips-ARCH.tar.
# SOURCE_DATE_EPOCH (seconds; default the commit's time) is the time of everything in the images, so that one commit makes one image.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-dev}
commit=${COMMIT-$(git rev-parse HEAD 2>/dev/null || true)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
registry=${REGISTRY:-localhost}
gofips=off variant=
[ -z "${FIPS:-}" ] || gofips=certified variant=-fips
images=("$@")
[ "${#images[@]}" != 0 ] || images=(meshtls-tap meshtls-tap-webhook)
goimage=localhost/meshtls-tap-go
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p dist

# The storage is temporary: only the archives remain.
bud() { $offline buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }

builder() { # the image that replaces golang: a shell; /usr/local/go is mounted
	local rootfs=$work/rootfs
	mkdir -p "$rootfs"/{bin,etc/ssl/certs,go/pkg/mod,root/.cache/go-build,tmp,usr/local/go}
	cp "$(command -v busybox)" "$rootfs/bin/busybox"
	local applet
	for applet in sh cp mkdir; do ln -s busybox "$rootfs/bin/$applet"; done
	cp /etc/ssl/certs/ca-certificates.crt "$rootfs/etc/ssl/certs/"
	cat >"$work/Dockerfile.go" <<-'E'
		FROM scratch
		COPY . /
		ENV PATH=/usr/local/go/bin:/bin HOME=/root GOPATH=/go GOCACHE=/root/.cache/go-build GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-mod=readonly
	E
	bud bud --quiet --isolation chroot -f "$work/Dockerfile.go" -t "$goimage" "$rootfs" >/dev/null
}

if docker info >/dev/null 2>&1; then
	build() { # NAME ARCH
		docker build --quiet --target "$1" --platform "linux/$2" --build-arg "VERSION=$version" --build-arg "COMMIT=$commit" --build-arg "GOFIPS140=$gofips" -t "$registry/$1:$version$variant-$2" .
		docker save -o "dist/$1$variant-$2.tar" "$registry/$1:$version$variant-$2"
	}
elif [ "$(id -u)" = 0 ] && command -v buildah >/dev/null; then
	offline=""
	unshare -n true 2>/dev/null && offline="unshare -n"
	GOFIPS140=$gofips go list -deps ./cmd/... ./image/setcap >/dev/null # downloads the modules: the build itself has no network
	builder
	build() { # NAME ARCH
		bud bud --quiet --isolation chroot --pull-never --timestamp "$SOURCE_DATE_EPOCH" --target "$1" --platform "linux/$2" \
			--build-arg "BUILDPLATFORM=linux/$(go env GOHOSTARCH)" --build-arg "GO_IMAGE=$goimage" --build-arg "VERSION=$version" --build-arg "COMMIT=$commit" --build-arg "GOFIPS140=$gofips" \
			-v "$(go env GOROOT):/usr/local/go:ro" -v "$(go env GOMODCACHE):/go/pkg/mod:ro" -v "$(go env GOCACHE):/root/.cache/go-build" \
			-t "$registry/$1:$version$variant-$2" . >/dev/null
		rm -f "dist/$1$variant-$2.tar"
		bud push --quiet "$registry/$1:$version$variant-$2" "oci-archive:dist/$1$variant-$2.tar:$registry/$1:$version$variant"
	}
else
	echo "make image: no docker daemon, and buildah needs root (apt-get install buildah busybox-static): no image built" >&2
	exit 1
fi

declare -A emulator=([amd64]=qemu-x86_64-static [arm64]=qemu-aarch64-static)
for image in "${images[@]}"; do
	for arch in amd64 arm64; do
		build "$image" "$arch"
		binary=$work/$image-$arch
		go run ./image/check "$image" "dist/$image$variant-$arch.tar" "$binary"

		# The packed binary starts and prints its version; that of the other architecture by qemu-user-static, where it is installed.
		run=
		if [ "$arch" != "$(go env GOHOSTARCH)" ]; then
			run=$(command -v "${emulator[$arch]}") || { echo "$image $arch: not run: ${emulator[$arch]} is not installed"; continue; }
		fi
		printed=$($run "$binary" version)
		echo "$printed"
		[ "$gofips" = off ] || [[ $printed == *" fips140 v"* ]] || { echo "image/build.sh: $image $arch is not in FIPS mode" >&2; exit 1; }
	done
done
