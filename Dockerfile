# The tap's image: one static binary, from scratch. `make image` builds and checks it, with docker or, without network, with buildah.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY . .
RUN GOFLAGS="$(tools/goflags.sh)" CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION}" -o /out/tap ./cmd/tap
# Not root in the pod: the file permits NET_RAW, and the tap raises it where it opens its socket.
RUN CGO_ENABLED=0 go run -buildvcs=false ./image/setcap /out/tap

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="meshtls-tap" \
      org.opencontainers.image.description="Judges from the wire whether traffic between workloads is mutual TLS" \
      org.opencontainers.image.source="https://github.com/meshtls-tap/meshtls-tap" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# Public roots, for brokers outside of the cluster.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tap /tap
USER 65532:65532
ENTRYPOINT ["/tap"]
CMD ["run"]
