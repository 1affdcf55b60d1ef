# Both images, from scratch, each with one static binary: the targets meshtls-tap (the last one, so the default) and meshtls-tap-webhook.
# `make image` builds and checks both, with docker, or with buildah and without network.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS source
WORKDIR /src
COPY . .

FROM source AS build-tap
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT
# certified: FIPS 140-3 mode with Go's validated cryptographic module.
ARG GOFIPS140=off
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} GOFIPS140=${GOFIPS140} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/tap ./cmd/tap
# The tap does not run as root: its file permits NET_RAW, and it raises the capability while it opens a socket.
RUN CGO_ENABLED=0 go run -buildvcs=false ./image/setcap /out/tap && \
    CGO_ENABLED=0 go run -buildvcs=false ./image/notices ./cmd/tap >/out/NOTICES

FROM source AS build-webhook
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT
# certified: FIPS 140-3 mode with Go's validated cryptographic module.
ARG GOFIPS140=off
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} GOFIPS140=${GOFIPS140} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/tap-webhook ./cmd/tap-webhook && \
    CGO_ENABLED=0 go run -buildvcs=false ./image/notices ./cmd/tap-webhook >/out/NOTICES

FROM scratch AS meshtls-tap-webhook
ARG VERSION=dev
ARG COMMIT
LABEL org.opencontainers.image.title="meshtls-tap-webhook" \
      org.opencontainers.image.description="Puts meshtls-tap into the pods of labelled namespaces" \
      org.opencontainers.image.source="https://github.com/meshtls-tap/meshtls-tap" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
COPY --from=build-webhook /out/tap-webhook /src/LICENSE /out/NOTICES /
USER 59469:59469
ENTRYPOINT ["/tap-webhook"]

FROM scratch AS meshtls-tap
ARG VERSION=dev
ARG COMMIT
LABEL org.opencontainers.image.title="meshtls-tap" \
      org.opencontainers.image.description="Judges from the wire whether traffic between workloads is mutual TLS" \
      org.opencontainers.image.source="https://github.com/meshtls-tap/meshtls-tap" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
# Public root certificates, for brokers outside the cluster.
COPY --from=build-tap /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build-tap /out/tap /src/LICENSE /out/NOTICES /
USER 59469:59469
ENTRYPOINT ["/tap"]
CMD ["run"]
