# The two commands: `make up` runs the product, `make test` tests it. Both install what they need, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Where the product keeps its database, secrets and tools (`docbrain --help`, --home).
DOCBRAIN_HOME ?= $(if $(filter 0,$(shell id -u)),/var/lib/docbrain,$(or $(XDG_DATA_HOME),$(HOME)/.local/share)/docbrain)
export DOCBRAIN_HOME
# Queries are checked against the committed .sqlx; `make generate` refreshes it.
export SQLX_OFFLINE := true
# A variable of the shell must not reach tests, which make databases of their own.
unexport DATABASE_URL

MODEL_DIR := $(DOCBRAIN_HOME)/tools/model/all-MiniLM-L6-v2
CLIENTS := $(DOCBRAIN_HOME)/tools/clients
REAL_DOCUMENTS := $(DOCBRAIN_HOME)/tools/real-documents
DOCBRAIN := target/debug/docbrain

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: prerequisites
prerequisites:
	@tools/prerequisites.sh

.PHONY: tools
tools: prerequisites ## Prepare PostgreSQL and the embedding model
	@python3 tools/prepare.py "$(DOCBRAIN_HOME)"

.PHONY: clients
clients: prerequisites ## Prepare other people's clients, which tests run
	@tools/clients.sh "$(CLIENTS)"

# Tests start API servers of their own. Where they cannot be built, one line says why, and those tests are skipped.
.PHONY: kubernetes
kubernetes:
	@tools/cluster/binaries.sh api || echo "skipped: what needs an API server of Kubernetes, for the reason above"

.PHONY: up
up: tools ## Start DocBrain on this machine, until Ctrl-C
	@echo "building DocBrain (the first time takes some minutes) …"
	@cargo build --release --workspace --bins
	@exec target/release/docbrain up

.PHONY: build
build: prerequisites
	cargo build --workspace --all-targets

.PHONY: test
test: tools clients build kubernetes ## Run all tests; KUBECONFIG's cluster is not touched, DOCBRAIN_TEST_KUBECONFIG's is
	@tools/real-documents.sh "$(REAL_DOCUMENTS)"
	DOCBRAIN_MODEL_DIR="$(MODEL_DIR)" DOCBRAIN_REAL_DOCUMENTS="$(REAL_DOCUMENTS)" DOCBRAIN_CLIENTS="$(CLIENTS)/bin" \
	  $(DOCBRAIN) postgres --ephemeral -- tools/test.sh

.PHONY: fuzz
fuzz: tools clients build ## Send the API what its document allows and does not, for long; SEED=<number> repeats
	DOCBRAIN_CLIENTS="$(CLIENTS)/bin" DOCBRAIN_FUZZ="--max-examples 300 --seed $(or $(SEED),$$RANDOM)" \
	  $(DOCBRAIN) postgres --ephemeral -- cargo test --workspace --test it fuzz:: -- --nocapture

.PHONY: check
check: prerequisites ## Check format, lints, documentation, licences, alerts, the chart and generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	tools/deny.sh
	tools/promtool.sh
	tools/chart.sh check
	$(MAKE) --no-print-directory fresh

.PHONY: generate
generate: tools ## Refresh every generated file
	@# Nothing can be built while .sqlx is stale; any DocBrain starts the database that mends it.
	test -x $(DOCBRAIN) || cargo build --workspace --all-targets
	$(DOCBRAIN) postgres --ephemeral -- tools/sqlx.sh .sqlx
	cargo build --workspace --all-targets
	target/debug/docbrain-operator crd --folder crds/generated
	tools/chart.sh copy charts/docbrain/files
	UPDATE_OPENAPI=1 cargo test --quiet --workspace the_committed_document_is_fresh

.PHONY: fresh
fresh: tools build ## Check that generated files are fresh
	target/debug/docbrain-operator crd --folder target/fresh/crds
	diff -r crds/generated target/fresh/crds
	tools/chart.sh copy target/fresh/chart
	diff -r charts/docbrain/files target/fresh/chart
	$(DOCBRAIN) postgres --ephemeral -- tools/sqlx.sh target/fresh/sqlx
	diff -r .sqlx target/fresh/sqlx

.PHONY: chart
chart: ## Check and test charts/docbrain; UPDATE=1 takes its snapshots anew
	@UPDATE="$(UPDATE)" tools/chart.sh check

.PHONY: alerts
alerts: ## Check and test deploy/monitoring with promtool
	@tools/promtool.sh

.PHONY: cluster-up
cluster-up: tools ## Start a Kubernetes on this machine, with DocBrain in it; PROFILE=release takes programs for use
	@# Where this machine cannot have a node, the API server alone still serves many tests.
	tools/cluster/up.sh node || { test $$? = 3 && exec tools/cluster/up.sh api; }
	@if test "$$(cat "$${DOCBRAIN_CLUSTER:-$(DOCBRAIN_HOME)/cluster}/tier")" = node; then \
	  cargo build --workspace --bins $(if $(filter release,$(PROFILE)),--release) && \
	  tools/cluster/images.sh $(or $(PROFILE),debug) && \
	  tools/cluster/install.sh; \
	fi

.PHONY: cluster-down
cluster-down: ## End it, and all that it ran
	@tools/cluster/down.sh

.PHONY: upgrade
upgrade: tools ## Test the upgrade from another version, and the way back: FROM=<commit>
	@test -n "$(FROM)" || { echo "name the version to come from: make upgrade FROM=<commit>"; exit 2; }
	@tools/cluster/upgrade.sh "$(FROM)"

.PHONY: coverage
coverage: tools clients build kubernetes ## Measure line coverage; fails below the bars
	@tools/real-documents.sh "$(REAL_DOCUMENTS)"
	DOCBRAIN_MODEL_DIR="$(MODEL_DIR)" DOCBRAIN_REAL_DOCUMENTS="$(REAL_DOCUMENTS)" DOCBRAIN_CLIENTS="$(CLIENTS)/bin" \
	  $(DOCBRAIN) postgres --ephemeral -- tools/coverage.sh

.PHONY: bench
bench: tools ## Measure, and write docs/benchmarks.md
	cargo build --release --workspace --bins
	target/release/docbrain-bench run --docs docs/benchmarks.md

.PHONY: bench-operator
bench-operator: tools build ## Measure the operator with 10,000 resources, and write docs/benchmarks.md
	tools/cluster/binaries.sh api
	cargo build --release --workspace --bin docbrain-operator
	DOCBRAIN_TEST_OPERATOR="$(CURDIR)/target/release/docbrain-operator" $(DOCBRAIN) postgres --ephemeral -- \
	  cargo test --workspace --test it scale:: -- --ignored --nocapture

.PHONY: eval
eval: tools ## Measure retrieval quality on BEIR=<folder>, and write docs/benchmarks.md
	@test -n "$(BEIR)" || { echo "name a data set in BEIR's format: make eval BEIR=<folder with corpus.jsonl, queries.jsonl, qrels/>"; exit 2; }
	cargo build --release --workspace --bins
	target/release/docbrain-bench quality --beir "$(BEIR)" --docs docs/benchmarks.md

.PHONY: ci
ci: check test ## What CI runs
