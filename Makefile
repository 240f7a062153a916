# Everything that is run on this repository. `make help` lists the targets.
SHELL := /bin/bash
BIN   := .build/bin
GO    ?= go

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: test
test: ## every test but test-kube's, with the race detector
	MESHDIAG_KUBE_REQUIRED=0 $(GO) test -race -timeout 20m ./...

# The packages whose tests start a cluster, one after another: each runs an API server beside its tests.
.PHONY: test-kube
test-kube: $(BIN)/kube-apiserver ## the tests against a real Kubernetes API server, which it builds; needs etcd
	@pkgs=$$($(GO) list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | grep /internal/kubetest | cut -d' ' -f1) && \
	MESHDIAG_KUBE_REQUIRED=1 $(GO) test -race -timeout 20m -p 1 -run '^TestKube' $$pkgs

.PHONY: lint
lint: $(BIN)/.tools ## go vet, golangci-lint and buf lint
	$(GO) vet ./...
	$(BIN)/golangci-lint run ./...
	$(MAKE) --no-print-directory proto-lint

.PHONY: proto-lint
proto-lint: .build/protodeps/.done
	$(BIN)/buf lint

.PHONY: gen
gen: .build/protodeps/.done ## regenerate gen/ from proto/, and docs/checks from the checks
	$(BIN)/buf generate
	$(GO) run ./cmd/meshdiag checks --write-docs docs/checks

.PHONY: bench
bench: ## what is measured, each beside its yardstick in the same run
	$(GO) test -run '^$$' -bench Decode -benchtime 40x ./xdsclient
	$(GO) test -run '^$$' -bench Fleet -benchtime 5x ./xdsclient
	$(GO) test -run '^$$' -bench . -benchtime 5x ./cmd/meshdiag/...

.PHONY: fuzz
FUZZTIME ?= 10s
fuzz: ## each fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x -timeout 5m $$pkg; \
	  done; \
	done

.PHONY: build
build: ## a static binary, dist/meshdiag
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o dist/meshdiag ./cmd/meshdiag

.PHONY: breaking
breaking: .build/protodeps/.done ## the API against the last tag, or origin/main: nothing that was promised may break
	@against=$$(git describe --tags --abbrev=0 2>/dev/null || git rev-parse --verify -q origin/main || true); \
	if [ -z "$$against" ]; then echo "no tag and no origin/main: nothing to compare with"; exit 0; fi; \
	rm -rf .build/against && mkdir -p .build/against/.build && git archive "$$against" | tar -x -C .build/against && \
	cp -r .build/protodeps .build/against/.build/ && $(BIN)/buf breaking --against .build/against

# The developer tools, at the versions that tools/go.mod pins.
$(BIN)/.tools: tools/go.mod tools/go.sum tools/protodeps/main.go
	mkdir -p $(BIN)
	cd tools && GOBIN=$(CURDIR)/$(BIN) $(GO) install tool ./protodeps
	@touch $@

# The API server, at the version that tools/kube/go.mod pins: about six minutes on two cores, cached afterwards.
$(BIN)/kube-apiserver: tools/kube/go.mod tools/kube/go.sum
	mkdir -p $(BIN)
	cd tools/kube && v=$$($(GO) list -m -f '{{.Version}}' k8s.io/kubernetes) && \
	minor=$${v#v1.} && CGO_ENABLED=0 GOBIN=$(CURDIR)/$(BIN) $(GO) install -trimpath -ldflags "-s -w \
	  -X k8s.io/component-base/version.gitVersion=$$v -X k8s.io/component-base/version.gitMajor=1 \
	  -X k8s.io/component-base/version.gitMinor=$${minor%%.*}" tool
	@touch $@

# Imported protos, printed from the descriptors of linked Go modules.
.build/protodeps/.done: $(BIN)/.tools
	$(BIN)/protodeps .build/protodeps buf/validate/validate.proto google/api/annotations.proto google/api/field_behavior.proto
	@touch $@
