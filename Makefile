# The verbs of this repository; `make help` lists them.
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -X main.version=$(VERSION)
BIN := bin
TOOLS := $(abspath $(BIN)/tools)
FUZZTIME ?= 10s
TAG ?= local
export GOFLAGS := -buildvcs=false

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: dev
dev: build ## start mailfarm on loopback, ready to try
	$(BIN)/mailfarm dev

.PHONY: build
build: ## build bin/mailfarm
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/mailfarm ./cmd/mailfarm

.PHONY: images
images: ## make the images of the farm, from Go modules and Debian packages
	TAG='$(TAG)' VERSION='$(VERSION)' deploy/images/build

.PHONY: farm
farm: ## start the farm of deploy/compose, each role a service, ready to try
	deploy/compose/farm up

.PHONY: farm-down
farm-down: ## stop that farm; its data stay
	deploy/compose/farm down

.PHONY: farm-test
farm-test: ## try a farm of its own on the Docker engine while its parts die
	deploy/compose/test

.PHONY: test
test: ## run all tests; installs the external programs they use where it may
	tests/run

.PHONY: short
short: ## run the tests that need nothing but Go
	go test -short ./... ./proto/... ./tests/...

.PHONY: race
race: ## run the tests of the packages with the race detector
	go test -race ./...

.PHONY: e2e
e2e: ## run the tests of the whole, with real clients
	tests/run e2e

.PHONY: fault
fault: ## run the crash and kill tests, long form
	tests/run fault-long

.PHONY: mixed-test
mixed-test: ## roll a farm from an older build (OLD: a commit) to this one and back, under load
	tests/mixed

.PHONY: bench
bench: ## run the Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (default 10s)
	tests/fuzz $(FUZZTIME)

.PHONY: fmt
fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: tools
tools: ## build the generators and linters
	cd tools && GOWORK=off GOBIN=$(TOOLS) go install tool

.PHONY: generate
generate: tools ## generate the Go of the contracts
	cd proto && PATH=$(TOOLS):$$PATH buf generate

.PHONY: lint
lint: tools ## staticcheck and vet
	go vet ./... ./proto/... ./tests/...
	$(TOOLS)/staticcheck ./... ./tests/...

.PHONY: verify
verify: ## format, vet, staticcheck, tidy, contracts, generated code, import rules
	tests/verify
