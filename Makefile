# Each target sets up what it needs in .venv; nothing is installed outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONSTRAINTS := constraints.txt

.PHONY: demo test test-slow lint format clean

demo: $(VENV)/.installed-report
	$(BIN)/foretell demo -o report.html --json run.json
	@echo "Open report.html and report-no-help.html in a browser."

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto $(ARGS)

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto -m slow $(ARGS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("foretell needs Python >= 3.11, found %d.%d; set PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(PIP) install -c $(CONSTRAINTS) -e '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) build dist report.html report-no-help.html run.json
