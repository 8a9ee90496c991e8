# Everything a fresh machine needs beyond Python 3.11+, git and make is built here.
# `make demo` and `make test` do all the set-up; a second run finds it done.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
# uv installs 200 packages in seconds and checks the hashes in requirements.lock.
UV_VERSION := 0.13.9
# Certificates of the machine, as pip takes them: a company's proxy has its own.
export UV_SYSTEM_CERTS ?= 1
# Compile what is installed once: where PYTHONDONTWRITEBYTECODE is set, every process would do it again, for seconds.
export UV_COMPILE_BYTECODE ?= 1
EXTRAS := dev,aws,pinecone,dask,bench
# Compiled code is kept, whatever the shell says: every process of the tests would compile it again.
TEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
  --durations=25

# The server's port, where 4200 will not do: make up PORT=5200
PORT :=

# Which benchmarks, all where none is named: make bench BENCH="first unchanged"
BENCH :=

.PHONY: demo up down test test-all bench lint types format lock clean help

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("ragwright needs Python 3.11 or newer; this is " + sys.version.split()[0] + \
	  ". Name another with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.base: $(UV) pyproject.toml requirements.lock
	$(UV) pip install --quiet --editable . --constraint requirements.lock
	@touch $@

$(VENV)/.dev: $(UV) pyproject.toml requirements.lock
	$(UV) pip install --quiet --editable '.[$(EXTRAS)]' --constraint requirements.lock
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base  ## run the main job on this machine, with no account
	$(BIN)/ragwright demo

up: $(VENV)/.base  ## start a Prefect server, a worker and the deployments on this machine
	@$(BIN)/python deploy/local.py up $(if $(PORT),--port $(PORT))

down: $(VENV)/.base  ## stop them, their runs, and the endpoints that those started
	@$(BIN)/python deploy/local.py down

test: $(VENV)/.dev  ## run the tests, but for the long ones
	$(TEST) -m "not long"

test-all: $(VENV)/.dev  ## run all tests, as CI does
	$(TEST)

bench: $(VENV)/.dev  ## measure beside peers and limits, and put the figures into the README
	@$(BIN)/python benchmarks/suite.py $(BENCH); missed=$$?; $(BIN)/python benchmarks/table.py && exit $$missed

lint: $(VENV)/.dev  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## check types
	$(BIN)/mypy

format: $(VENV)/.dev  ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV)  ## resolve requirements.lock anew, and the benchmarks' peers
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --all-extras --no-emit-index-url \
	  --python-version 3.11 --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --custom-compile-command "make lock" --output-file benchmarks/peers/requirements.txt benchmarks/peers/requirements.in

clean:  ## remove what the targets above built; state under .ragwright stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
