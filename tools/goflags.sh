#!/bin/sh
# Prints the GOFLAGS that a release of the tap is built with: it has to stay under 10 MB.
#   GOFLAGS=$(tools/goflags.sh) go build ./cmd/tap
# No HTTP/2 in the health server, and no inlining in packages that no packet passes through: about 0.9 MB less, and the
# same speed where it counts (make bench).
cold="
crypto/... vendor/... encoding/asn1 encoding/json encoding/pem flag fmt log/slog math/big mime/multipart net net/http net/textproto net/url
reflect text/tabwriter
github.com/caarlos0/env/v11 github.com/google/gopacket github.com/google/gopacket/layers
github.com/segmentio/kafka-go github.com/segmentio/kafka-go/protocol/... github.com/segmentio/kafka-go/sasl
"
# Hashes are taken of each connection: without inlining each would take memory, too.
warm="crypto/internal/fips140/sha256 crypto/sha256 crypto/md5 crypto/sha1"
printf '%s' "-tags=nethttpomithttp2"
for package in $cold; do printf ' %s' "-gcflags=$package=-l"; done
for package in $warm; do printf ' %s' "-gcflags=$package="; done
