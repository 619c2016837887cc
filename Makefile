# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow bench lint types audit docs docs-links clean env

env: $(STAMP)

# torch first and pinned, so that nothing below can choose another build; CrypTen with --no-deps because its metadata
# asks for the retired `sklearn` stub (its real needs are among our own dependencies).
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); sys.exit(0 if ok else "sotto needs Python 3.11 or 3.12, found " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	@echo "setting up $(VENV) (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install torch==2.13.0
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@$(PIP) install --no-deps crypten==0.4.1
	@touch $@

demo: $(STAMP)
	@$(BIN)/sotto run experiments/configs/demo.yaml --out runs/demo --overwrite
	@$(BIN)/sotto run experiments/configs/demo_words.yaml --out runs/demo_words --overwrite
	@$(BIN)/sotto suggest "This method returns the" --adapter runs/demo_words

# Two processes with a core each; the tests of one file stay together, for they share parties and runs.
test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not gpu'

test-slow: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow or gpu'

bench: $(STAMP)
	@$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@$(BIN)/python -m pytest bench --benchmark-only --benchmark-columns=median,iqr,rounds

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

# Every warning is an error, a link inside that leads nowhere among them.
docs: $(STAMP)
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "documentation: build/docs/index.html"

docs-links: $(STAMP)
	@$(BIN)/python -m sphinx -W --keep-going -q -b linkcheck docs build/docs-links

# The tools have an environment of their own, so that they are not in the bill of materials of ours.
AUDIT := build/audit
$(AUDIT)/.installed:
	@test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.10,<3' 'cyclonedx-bom>=7.5,<8'
	@touch $@

audit: $(STAMP) $(AUDIT)/.installed
	@$(BIN)/python -m tests.audit $(AUDIT)/bin

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
