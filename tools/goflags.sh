#!/bin/sh
# Prints the GOFLAGS that a release of the tap is built with: it has to stay under 10 MB.
#   GOFLAGS=$(tools/goflags.sh) go build ./cmd/tap
# No inlining in packages that no packet passes through: about half a MB less, and the same speed where it counts (make bench).
cold="
crypto/... vendor/... encoding/asn1 encoding/json encoding/pem flag fmt log/slog math/big net net/url
reflect text/tabwriter
github.com/caarlos0/env/v11 github.com/google/gopacket github.com/google/gopacket/layers
github.com/segmentio/kafka-go github.com/segmentio/kafka-go/protocol/... github.com/segmentio/kafka-go/sasl
"
# Hashes are taken of each connection: without inlining each would take memory, too.
warm="crypto/internal/fips140/sha256 crypto/sha256 crypto/md5 crypto/sha1"
flags=
for package in $cold; do flags="$flags -gcflags=$package=-l"; done
for package in $warm; do flags="$flags -gcflags=$package="; done
printf '%s' "${flags# }"
