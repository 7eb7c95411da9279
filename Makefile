# make demo   create the virtual environment, run a spoken request through the trained AmNet, write out/demo/report.html
# make test   lint, types, tests
VENV := .venv
PYTHON ?= python3.11
STAMP := $(VENV)/installed
AUDIO ?= models/demo/digits_1.wav

.PHONY: demo test lint clean help

help:
	@grep '^# make' Makefile | cut -c3-

demo: $(STAMP)
	$(VENV)/bin/azsim run --model amnet --chip az1_like --audio $(AUDIO) --out out/demo

test: $(STAMP) lint
	$(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile

lint: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lint]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) out build *.egg-info
