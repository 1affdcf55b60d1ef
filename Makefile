# Each target runs one tool, or one script that can also be run by hand. `make` without a target lists them.

GO           ?= go
GOTEST       ?= $(GO) test
# The timeout includes the time in which tests that saturate the machine wait for each other.
TEST_TIMEOUT ?= 60m
TESTFLAGS    ?=
FUZZTIME     ?= 30s
KAFKA        ?=
CLUSTER      ?=
RUN          ?=
ONLY         ?=
BASE         ?=
ROUNDS       ?= 5
BUSY         ?= 8
CORPUS       ?= ../shared
EXPRESSIONS  ?= 5000
SEED         ?= 1
CORPUS_FLOOR ?= 0.99

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
BUILD   := $(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)"
TOOLS   := $(CURDIR)/.cache/bin

# The stripped tap for linux/amd64 must have fewer bytes than this.
SIZE_LIMIT := 12000000

.DEFAULT_GOAL := help
.PHONY: help build quick test test-stress pure test-kafka test-cluster chart race fuzz filters lint fmt bench microbench demo image fips corpus compare tlslab ambient scenarios soak cross size rehearse clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the tap and the kubectl plugin: bin/tap, bin/kubectl-meshtls, static and stripped
	CGO_ENABLED=0 $(BUILD) -o bin/tap ./cmd/tap
	CGO_ENABLED=0 $(BUILD) -o bin/kubectl-meshtls ./cmd/kubectl-meshtls

test: ## vet and test everything. Installs what the tests need if run as root on Debian; otherwise such tests skip and print why. CLUSTER=0: without a Kubernetes API server
	@tools/setup.sh test
	$(GO) vet ./...
	tools/tidy.sh $(GOTEST) -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./...
	@[ "$(CLUSTER)" = 0 ] || tools/tidy.sh test/cluster/run.sh api $(TESTFLAGS)

test-stress: ## run `make test` beside BUSY (8) busy processes of the same priority: no test may depend on the machine's speed
	tools/stress.sh $(BUSY) $(MAKE) test TESTFLAGS='-count=1 $(TESTFLAGS)'

# Packages whose tests do not capture and start no broker or server. Some tests are slow, but none saturates the machine.
PURE := ./bench ./demo/... ./image/... ./internal/attach ./internal/buffer ./internal/dissect ./internal/finding ./internal/flow ./internal/iana ./internal/imports ./internal/inject \
	./internal/limits ./internal/manifest ./internal/names ./internal/ocsf ./internal/offline ./internal/order ./internal/ownsockets ./internal/pcapfile ./internal/protocols ./internal/record/... ./internal/report ./internal/tapfilter ./internal/tlsmsg ./internal/topology ./internal/variables ./internal/verdict ./internal/verify ./schema/... ./test/compare ./test/repository ./test/tlslab/...

pure: ## vet, and test the packages whose tests need only Go (one or two minutes on an idle machine with warm caches)
	$(GO) vet ./...
	tools/tidy.sh $(GOTEST) $(TESTFLAGS) $(PURE)

quick: ## vet, short tests, lint and size, for use while you work; the first job of CI (under 5 minutes with warm caches, 10 minutes or more the first time)
	$(MAKE) pure TESTFLAGS='-short $(TESTFLAGS)'
	$(MAKE) lint
	$(MAKE) size

test-kafka: ## run all tests with real Kafka brokers; prints how many records were sent, arrived, were duplicated, were dropped (root; about 45 minutes)
	@tools/setup.sh test
	MESHTLS_KAFKA=full MESHTLS_REQUIRE_ALL=1 tools/tidy.sh $(GOTEST) -count=1 -timeout 120m -v $(TESTFLAGS) ./test/kafka/...
	MESHTLS_REQUIRE_ALL=1 tools/tidy.sh $(GOTEST) -count=1 -timeout 30m -v $(TESTFLAGS) ./internal/sink
	MESHTLS_REQUIRE_ALL=1 tools/tidy.sh $(GOTEST) -count=1 -timeout 30m -v -run 'OwnTraffic|Check|Sink|Drops|Broker|Signal|Output' $(TESTFLAGS) ./cmd/tap

test-cluster: ## test in a real Kubernetes with one node (root; builds it once, some 10 minutes; skips and prints what is missing); RUN=regexp of tests
	@tools/setup.sh test
	test/cluster/run.sh node $(if $(RUN),-run '$(RUN)') $(TESTFLAGS)
	$(if $(RUN)$(findstring -short,$(TESTFLAGS)),,CLUSTER_SPEED=1 test/cluster/run.sh api -run '^TestSpeed$$' $(TESTFLAGS))

chart: ## lint and test the Helm chart with Helm 3 and 4 (UPDATE=1: rewrite its golden files and its README)
	test/cluster/run.sh chart $(TESTFLAGS) $(if $(UPDATE),-update)

# Packages that start goroutines, in the product or in tests. In other packages the race detector can find nothing.
RACY = $(shell grep -rlE --include='*.go' --exclude-dir=.cache --exclude-dir=cluster '^[[:space:]]+go [[:alpha:]]|[.]Go\b|[.]Parallel\b' . | xargs -n1 dirname | sort -u)

race: ## test the packages that start goroutines, with the race detector (needs a C compiler)
	@tools/setup.sh race
	CGO_ENABLED=1 tools/tidy.sh $(GOTEST) -race -timeout $(TEST_TIMEOUT) $(TESTFLAGS) $(RACY)

fuzz: ## run every fuzz target for FUZZTIME (30s)
	tools/fuzz.sh $(FUZZTIME)

filters: ## compare our programs for EXPRESSIONS (5000) generated filter expressions with libpcap's (SEED=N: other expressions)
	@tools/setup.sh test
	$(GO) test -count=1 -v -run 'Libpcap' ./internal/pcapfilter -expressions=$(EXPRESSIONS) -seed=$(SEED)

lint: $(TOOLS)/golangci-lint ## run golangci-lint in the version of tools/go.mod
	$(TOOLS)/golangci-lint run ./...

fmt: $(TOOLS)/golangci-lint ## format the code as `make lint` expects it
	$(TOOLS)/golangci-lint fmt ./...

bench: build ## measure the tap, its peers, and no tap (root; some 25 minutes; ONLY=offline,flood,...; ROUNDS=5; BASE=another build of the tap, to compare with)
	@tools/setup.sh bench
	@$(GO) build -o .cache/bench/bench ./bench
	.cache/bench/bench -tap bin/tap -base '$(BASE)' -rounds $(ROUNDS) -only '$(ONLY)'

microbench: ## run the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

demo: build ## run the demo: the tap judges real Envoy sidecars (KAFKA=1: through a real broker)
	@KAFKA=$(KAFKA) tools/setup.sh demo
	@KAFKA=$(KAFKA) demo/run.sh

image: ## build the container images for amd64 and arm64 and check them (by docker, else by buildah without network)
	@tools/setup.sh image
	VERSION=$(VERSION) COMMIT=$(COMMIT) image/build.sh

# "certified" is the newest version of Go's cryptographic module that is validated by FIPS 140-3: https://go.dev/doc/security/fips140
fips: ## build both programs in FIPS 140-3 mode, into .cache/fips, and test their TLS with a real broker and a real API server (CLUSTER=0: without the latter)
	@tools/setup.sh test
	mkdir -p .cache/fips
	CGO_ENABLED=0 GOFIPS140=certified $(BUILD) -o .cache/fips/ ./cmd/tap ./cmd/tap-webhook
	@for p in tap tap-webhook; do .cache/fips/$$p version | tee /dev/stderr | grep -q ' fips140 v' || { echo "$$p is not in FIPS mode"; exit 1; }; done
	@bytes=$$(wc -c < .cache/fips/tap); echo "tap in FIPS mode: $$bytes bytes (limit $(SIZE_LIMIT))"; test $$bytes -lt $(SIZE_LIMIT)
	tools/tidy.sh $(GOTEST) -count=1 -run '^TestFIPS' $(TESTFLAGS) ./test/kafka
	@[ "$(CLUSTER)" = 0 ] || PRODUCT=$(CURDIR)/.cache/fips tools/tidy.sh test/cluster/run.sh api -run '^(TestInjected|TestRotation|TestClientCertificate)$$' $(TESTFLAGS)

corpus: build ## score the tap on the maintainers' captures in the folder CORPUS (../shared). They are not published: without them it does nothing
	CORPUS_FLOOR=$(CORPUS_FLOOR) tools/corpus.sh bin/tap $(CORPUS)

compare: build ## compare the tap with tshark on all captures in the repository, and in CORPUS if it exists (V=1: list each difference)
	@tools/setup.sh compare
	$(GO) run ./test/compare $(if $(V),-v) bin/tap test/tlslab/testdata cmd/tap/testdata/captures $(wildcard $(CORPUS)/corpus/pcaps $(CORPUS)/tls13/pcaps)

tlslab: ## capture real TLS stacks again, with the truth about each connection, and score the tap (root; ONLY=regexp of cases)
	@tools/setup.sh tlslab
	test/tlslab/run.sh '$(ONLY)'

ambient: ## run the lab of an ambient mesh: in-pod redirection, HBONE, and taps in all pods (root; UPDATE=1: rewrite its table and captures)
	@tools/setup.sh test
	@! command -v cargo >/dev/null || CARGO_TARGET_DIR=.cache/ambient cargo build --release --quiet --locked --manifest-path test/ambient/rust/Cargo.toml || echo "ambient: the proxy with rustls was not built: see above"
	tools/tidy.sh $(GOTEST) -count=1 -v $(TESTFLAGS) ./test/ambient/... $(if $(UPDATE),-update)

scenarios: ## play a day in miniature with live taps and compare the findings (root; UPDATE=1: rewrite the golden file)
	@tools/setup.sh test
	tools/tidy.sh $(GOTEST) -count=1 -v $(TESTFLAGS) ./test/scenarios/... $(if $(UPDATE),-update)

soak: ## judge 100,000 damaged captures of real TLS stacks
	$(GO) test ./test/tlslab -count=1 -run '^TestMutations$$' -mutations=100000 -v

cross: ## compile the tap for the other supported systems and architectures, and the kubectl plugin for two other systems
	@set -e; for target in linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		echo "build $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(BUILD) -o /dev/null ./cmd/tap; \
	done; \
	for target in darwin/arm64 windows/amd64; do \
		echo "build kubectl-meshtls $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(BUILD) -o /dev/null ./cmd/kubectl-meshtls; \
	done

size: ## print the sizes of the stripped linux/amd64 binaries; fail if the tap has 12,000,000 bytes or more
	@CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(BUILD) -o .cache/size/ ./cmd/tap ./cmd/kubectl-meshtls
	@echo "kubectl-meshtls linux/amd64: $$(wc -c < .cache/size/kubectl-meshtls) bytes"
	@bytes=$$(wc -c < .cache/size/tap); echo "tap linux/amd64: $$bytes bytes (limit $(SIZE_LIMIT))"; test $$bytes -lt $(SIZE_LIMIT)

rehearse: ## rehearse a release without publishing (root; docs/release.md; builds GoReleaser, syft and cosign once, some 30 minutes)
	tools/rehearse.sh

clean: ## remove the files that the targets create
	rm -rf bin dist .cache demo/out

# tools/go.mod pins the versions of the tools. It is a separate module, so that the product's go.mod does not list them.
$(TOOLS)/%: tools/go.mod tools/go.sum
	@echo "building the tools (once; some minutes)"
	@cd tools && CGO_ENABLED=0 GOBIN=$(TOOLS) GOFLAGS=-buildvcs=false nice -n 10 $(GO) install -trimpath tool
	@touch $(TOOLS)/*
