# Two commands do all the set-up: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint verify docs bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := $(VENV)-bench
# The one torch that everything is tested with. pip, not uv, installs it: pip finds a local CPU wheel where there is one.
TORCH := torch==2.13.0
PACKAGES := $(patsubst %/pyproject.toml,%,$(wildcard core/pyproject.toml plugins/*/*/pyproject.toml contrib/*/pyproject.toml))
STAMP := $(VENV)/.suffuse-installed

help:  ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) 'uv>=0.13,<0.14'

$(STAMP): $(BIN)/uv pyproject.toml $(addsuffix /pyproject.toml,$(PACKAGES))
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev $(addprefix -e ./,$(PACKAGES))
	touch $@

setup: $(STAMP)  ## install torch, the core and every plugin, editable, in .venv

demo: setup  ## draw, swap, fill in and score digits, and leave a report (about a minute)
	OMP_NUM_THREADS=1 $(BIN)/suffuse run docs/demo.toml --out out/demo  # networks this small gain nothing from threads

lint: setup  ## formatting, lint rules, strict types of the core
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint  ## all tests, on two processes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -q --durations 15

verify: setup  ## measure the evidence of every plugin: every part, every claim (most of an hour on two cores)
	$(BIN)/suffuse verify --all

docs: setup  ## write docs/plugins.md from manifests and evidence, docs/composition.md from the matrix
	OMP_NUM_THREADS=1 $(BIN)/python docs/generate.py

# The peers of the benchmark, and what they import that .venv has not, in an environment that sees .venv's packages but is
# not seen by them. Without dependencies: azula names torchvision, which would bring another torch.
$(BENCH)/.installed: $(STAMP)
	$(BIN)/python -m venv --clear --without-pip $(BENCH)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(BIN)/uv pip install --quiet --python $(BENCH)/bin/python --no-deps --group bench \
		einops regex requests urllib3 certifi charset-normalizer
	touch $@

bench: $(BENCH)/.installed  ## seconds per sample beside diffusers and azula, and the cost of many plugins
	$(BENCH)/bin/python tests/bench/sampling.py
	$(BIN)/python tests/bench/loading.py

clean:  ## remove what was made here
	rm -rf $(VENV) .venv-bench out dist runs
