# Targets: setup, demo, lint, test, test-all. `make` alone lists them.
# Variables: PYTHON (3.10 or newer), VENV (the virtual environment), STACK (onedl or openmmlab), TORCH (torch's version),
# JOBS (test processes).
PYTHON ?= python3
VENV ?= .venv
STACK ?= onedl
TORCH ?= 2.13.0
JOBS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := work_dirs/demo
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

.PHONY: help setup demo lint test test-all

help:
	@echo 'make setup     the virtual environment $(VENV) with everything in it'
	@echo 'make demo      quantize a small detector on synthetic roads and write $(DEMO)/report.html'
	@echo 'make lint      style, format and import contracts'
	@echo 'make test      lint and the tests that run in minutes'
	@echo 'make test-all  lint and all tests; needs mmcv with compiled operators'

setup: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'mmsf needs Python 3.10 or newer: make setup PYTHON=python3.11'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install torch==$(TORCH)
# pip builds onedl-mmcv apart from this environment, so without torch, so without compiled operators, in seconds.
	$(BIN)/python -m pip install --quiet --editable '.[$(STACK),dev]'
# OpenCV's two wheels write the same files; the one without a display runs everywhere, so it comes last.
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps \
		"$$($(BIN)/python -m pip freeze | grep '^opencv-python-headless==')"
	touch $@

$(DEMO)/data/.made: | setup
	$(BIN)/python tools/make_synthetic.py --frames 256 --seed 1 --out $(DEMO)/data/train
	$(BIN)/python tools/make_synthetic.py --frames 100 --seed 2 --out $(DEMO)/data/test
	touch $@

demo: setup $(DEMO)/data/.made
	$(BIN)/python tools/ptq.py configs/lstr/lstr_tiny_synthetic.py --preset best --bits w4a4 \
		--checkpoint mmsf/zoo/lstr_tiny_synthetic.pth \
		--data-root $(DEMO)/data/test --calibration-root $(DEMO)/data/train --work-dir $(DEMO)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# Exported files are tested in processes of their own: after many other tests, a process that ran both runtimes was seen to die of
# a damaged heap (onnxruntime 1.31.1, openvino 2026.4.1).
test: lint
	$(PYTEST) -m 'not slow and not ops' --ignore tests/test_deploy
	$(PYTEST) -m 'not slow and not ops' tests/test_deploy

test-all: lint
	$(PYTEST) --ignore tests/test_deploy
	$(PYTEST) tests/test_deploy
