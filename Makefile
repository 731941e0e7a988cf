# Runwire. `make help` lists what can be made. Nothing is needed but Go and make.

.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

TOOL          := go tool -modfile=tools/go.mod
# Where the definitions of the validation rules lie in the Go module cache.
PROTOVALIDATE := github.com/bufbuild/protovalidate@v1.2.2
VALIDATE      := .cache/proto/buf/validate/validate.proto

# What `make run` adds to `runwire serve`, and `make test` to `go test`.
ARGS          ?=
TESTFLAGS     ?=
# How many tasks each part of `make torture` has, and in the course of how many
# seconds. TORTURE_BINARY=path tests a binary that is there; TESTFLAGS="-run X" a part.
TORTURE_TASKS   ?= 2000
TORTURE_SECONDS ?= 60
# How long each fuzz target runs.
FUZZTIME      ?= 20s
# What `make lint` compares the contract with: by default the last release.
AGAINST       ?= $(shell git describe --tags --abbrev=0 2>/dev/null)
# The version of a build outside of git; inside, Go takes it from there.
VERSION       ?=
STAMP          = $(if $(VERSION),-X github.com/runwire/runwire/telemetry.stamped=$(VERSION))

# The race detector needs a C compiler; without one the tests run without it.
RACE          := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# A tarball and somebody else's checkout have no git state to stamp.
export GOFLAGS := $(GOFLAGS) $(if $(shell git rev-parse HEAD 2>/dev/null),,-buildvcs=false)

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.PHONY: run
run: build ## build and serve; ARGS="--listen 127.0.0.1:6000" adds flags
	@bin/runwire serve $(ARGS)

.PHONY: build
build: ## build the static binary bin/runwire
	@CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $(STAMP)" -o bin/runwire ./cmd/runwire

.PHONY: test
test: $(VALIDATE) node-client mcp-servers model-providers ## run all tests; TESTFLAGS="-run TestX -v" adds flags
	go test $(RACE) -shuffle=on $(TESTFLAGS) ./...

.PHONY: torture
torture: ## kill processes and lose NATS and PostgreSQL under tasks; TORTURE_TASKS=2000 in TORTURE_SECONDS=60, each of five times
	TORTURE_TASKS=$(TORTURE_TASKS) TORTURE_SECONDS=$(TORTURE_SECONDS) go test -count=1 -timeout 30m -v $(TESTFLAGS) ./torture

.PHONY: cover
cover: ## run the tests and write .cache/cover.html
	@mkdir -p .cache
	go test -coverpkg=./... -coverprofile=.cache/cover.out ./...
	@go tool cover -html=.cache/cover.out -o .cache/cover.html
	@go tool cover -func=.cache/cover.out | tail -1

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func / /' | while read -r file name; do \
		echo "$$name ($${file%/*})"; \
		go test "$${file%/*}" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) || exit 1; \
	done

.PHONY: bench
bench: ## compare Runwire with its peers; ARGS="-only million" measures a part, ARGS=-help tells which
	@go run ./bench $(ARGS)

.PHONY: generate
generate: $(VALIDATE) ## make gen/ from proto/, offline
	@$(TOOL) buf generate

.PHONY: check-generate
check-generate: $(VALIDATE) ## check that gen/ is what proto/ makes
	@rm -rf .cache/generated
	@$(TOOL) buf generate -o .cache/generated
	@diff -r gen .cache/generated/gen || { echo "gen/ is not what proto/ makes: run make generate" >&2; exit 1; }

.PHONY: protos
protos: $(VALIDATE) ## lay the contract and its imports into bin/proto, for other languages
	@rm -rf bin/proto && mkdir -p bin/proto
	@cp -r proto/. .cache/proto/. bin/proto/

.PHONY: lint
lint: $(VALIDATE) lint-contract lint-modules ## check the contract, the code and the modules
	$(TOOL) golangci-lint run

.PHONY: format
format: ## lay out the code as make lint wants it
	@$(TOOL) golangci-lint fmt

.PHONY: lint-contract
lint-contract: $(VALIDATE)
	$(TOOL) buf lint
	@if [ -z "$(AGAINST)" ]; then echo "buf breaking: no release to compare with yet"; exit; fi; \
	rm -rf .cache/against && mkdir -p .cache/against/.cache && cp buf.yaml .cache/against/ && cp -r .cache/proto .cache/against/.cache/ && \
	git archive "$(AGAINST)" proto | tar -x -C .cache/against && \
	echo "buf breaking --against $(AGAINST)" && $(TOOL) buf breaking --against .cache/against

.PHONY: lint-modules
lint-modules:
	go mod tidy -diff
	go -C tools mod tidy -diff
	go -C tools/ghz mod tidy -diff
	go -C bench/asynq mod tidy -diff

.PHONY: clean
clean: ## remove what was made
	@rm -rf bin .cache

$(VALIDATE):
	@mkdir -p $(@D)
	@dir=$$(go mod download -json $(PROTOVALIDATE) | sed -n 's/.*"Dir": "\(.*\)",/\1/p') && \
		install -m 644 "$$dir/proto/protovalidate/buf/validate/validate.proto" $@

# What tests need out of the npm registry. Where it cannot be had, those tests
# are skipped and say so.
.PHONY: node-client mcp-servers model-providers
node-client: .cache/node/package.json
mcp-servers: .cache/mcp/package.json
model-providers: .cache/providers/package.json

.cache/node/package.json: clients/node/package.json
.cache/mcp/package.json: agent/tool/mcp/testdata/package.json
.cache/providers/package.json: agent/model/modeltest/package.json
.cache/%/package.json:
	@rm -rf $(@D) && mkdir -p $(@D) && cp $< $@
	@npm install --prefix $(@D) --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error || \
		{ echo "no packages for $(@D)" >&2; rm $@; }
