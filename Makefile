# Runwire. `make help` lists what can be made.

.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

TOOL          := go tool -modfile=tools/go.mod
# Where the definitions of the validation rules lie in the Go module cache.
PROTOVALIDATE := github.com/bufbuild/protovalidate@v1.2.2

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.cache/proto/buf/validate/validate.proto:
	@mkdir -p $(@D)
	@dir=$$(go mod download -json $(PROTOVALIDATE) | sed -n 's/.*"Dir": "\(.*\)",/\1/p') && \
		install -m 644 "$$dir/proto/protovalidate/buf/validate/validate.proto" $@

.PHONY: generate
generate: .cache/proto/buf/validate/validate.proto ## make gen/ from proto/, offline
	@$(TOOL) buf generate

.PHONY: lint
lint: .cache/proto/buf/validate/validate.proto ## check the contract, the code and the modules
	$(TOOL) buf lint
