# `make demo` and `make test` set up all they need: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_RUN ?= runs/demo
DEMO_OPTIONS ?= --data digits --on host_cpu1_litert_fp32 --budget-of-median 0.5 \
	--supernet-epochs 16 --population 16 --generations 4 --train-epochs 12

.PHONY: demo test lint bench clean

demo: $(VENV)/.installed
	$(BIN)/hwnas generate $(DEMO_OPTIONS) --out $(DEMO_RUN)
	@echo "Open $(DEMO_RUN)/report.html; the model files are in $(DEMO_RUN)/export."

# Two files of tests at a time; one thread each, as torch's threads would wait for each other.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Those of minutes; the others measure whole tables and networks, and say how to be called.
BENCHMARKS ?= predict_latency search_speed build_blocks interpolation

bench: $(VENV)/.installed
	for benchmark in $(BENCHMARKS); do $(BIN)/python benchmarks/$$benchmark.py || exit 1; done

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs/demo
