# Everything that is done here more than once has a target; nothing else is "how to".
#
# PYTHON       the interpreter that a new .venv is made with (3.11 or newer).
# ENGINE       cpu or gpu: which ONNX Runtime is installed; gpu where `nvidia-smi -L` answers.
# TORCH_INDEX  an extra package index to take torch from. Empty: pip's own configuration decides. On a machine without a
#              GPU, name PyTorch's CPU index here (its install page shows the address): the default index serves builds
#              that bring several GB of CUDA libraries.
# ARGS         what `make serve`, `make demo`, `make conformance`, `make bench` and `make bench-switch` hand on:
#              make serve ARGS="--data ./elsewhere"
PYTHON ?= python3
ENGINE ?=
TORCH_INDEX ?=
ARGS ?=

# Files of tests are shared out in the order of pyproject.toml among one process more than there are cores, 6 at most:
# tests wait a good part of their time, and each process holds PyTorch.
SHARED = -n $(shell cores=$$(nproc); echo $$((cores < 6 ? cores + 1 : 6))) --dist loadfile --no-loadscope-reorder
BIN := .venv/bin
PY := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: setup proto lint fmt type test cover test-all test-postgres test-gpu-wheel conformance races chaos soak bench bench-switch bench-artifacts bench-registry interop hostile crashpoints engines fuzz sbom audit demo serve clean help

setup: ## make .venv/ with everything, the command in it at .venv/bin/interlock
	@PYTHON="$(PYTHON)" ENGINE="$(ENGINE)" TORCH_INDEX="$(TORCH_INDEX)" tools/setup.sh

proto: setup ## regenerate the committed stubs from proto/
	@tools/proto.sh

lint: setup ## check style, formatting, import rules, stubs and generated docs; changes nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@tools/proto_check.sh
	@$(PY) -m tools.docs --check

fmt: setup ## format the code and refresh the generated tables in docs/
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format
	@$(PY) -m tools.docs

type: setup ## check types (mypy --strict)
	@$(BIN)/mypy

test: setup ## run the suite, without the minutes-long tests, in several processes
	@$(PY) -m pytest -m "not slow" $(SHARED) $(ARGS)

cover: setup ## run the same with branch coverage, of every process but the walled-in model tool: half as long again
	@$(PY) -m coverage erase
	@$(PY) -m pytest -m "not slow" $(SHARED) --cov --cov-report= $(ARGS)
	@echo "coverage (branches included): $$($(PY) -m coverage report --format=total) %"

test-all: setup ## run every test
	@$(PY) -m pytest $(ARGS)

test-postgres: setup ## run what touches the registry with servers that keep it in PostgreSQL, in several processes
	@$(PY) -m pytest -m "not slow" --database postgresql tests/unit/server tests/integration tests/system $(SHARED) $(ARGS)

test-gpu-wheel: setup ## serve with onnxruntime-gpu, in an environment of its own (256 MB); needs no GPU
	@tools/gpu_wheel.sh

conformance: setup ## put ONNX's own backend tests (1,500 models) through the wire, bit for bit
	@$(PY) -m tests.conformance.backend $(ARGS)

races: setup ## race processes over one registry, and clients of one server: 1,000 rounds of each race
	@$(PY) -m tests.races $(ARGS)

chaos: setup ## kill, stop, starve and poison a server under load: a table of faults and what failed
	@$(PY) -m tests.chaos $(ARGS)

soak: setup ## 20 minutes of random promotes, rollbacks, uploads and kills under load (ARGS="--minutes 5")
	@$(PY) -m tests.chaos.soak $(ARGS)

bench: setup ## measure inference
	@$(PY) -m tests.bench.infer $(ARGS)

bench-switch: setup ## measure promote and rollback under load
	@$(PY) -m tests.bench.switch $(ARGS)

bench-artifacts: setup ## measure what ten fine-tunes of one network take of disk and memory
	@$(PY) -m tests.bench.artifacts $(ARGS)

bench-registry: setup ## measure a registry of 100,000 versions, on SQLite and PostgreSQL
	@$(PY) -m tests.bench.registry $(ARGS)

interop: setup ## other people's clients against a live server, each in an environment of its own (uses the network)
	@$(PY) -m tests.interop $(ARGS)

hostile: setup ## put 115 models that are made to do harm before a real server, and print what each is told
	@$(PY) -m tests.hostile $(ARGS)

crashpoints: setup ## crash, fail and lose the power at every system call of what writes: register, promote, gc, backup, … (needs strace)
	@$(PY) -m tests.crashpoints $(ARGS)

engines: setup ## serve one data directory with two releases of ONNX Runtime in turns (uses the network)
	@$(PY) -m tests.engines $(ARGS)

fuzz: setup ## broken requests at the inference methods for a minute (ARGS="--seconds 600 --seed 7")
	@$(PY) -m tests.fuzz $(ARGS)

sbom: setup ## write what is installed as CycloneDX JSON, build/interlock.cdx.json
	@tools/supply.sh sbom

audit: setup ## ask PyPI's advisories about what is installed (uses the network; AUDIT_SERVICE=osv asks OSV)
	@tools/supply.sh audit

demo: setup ## train, export, serve, promote, notice, roll back, on real digits
	@$(PY) -m examples.digits_demo $(ARGS)

serve: setup ## run the server in the foreground
	@exec $(BIN)/interlock serve $(ARGS)

clean: ## remove what builds, tests, benchmarks and the demo left (.venv/ and interlock-data/ stay)
	@rm -rf build dist demo-out bench-out .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
