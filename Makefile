# `make demo` and `make test` set up all they need: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_RUN ?= runs/demo
DEMO_OPTIONS ?= --data digits --on host_cpu1_litert_fp32 --budget-of-median 0.5 \
	--supernet-epochs 3 --population 16 --generations 4 --train-epochs 10

.PHONY: demo test test-runtimes lint bench clean

demo: $(VENV)/.installed
	$(BIN)/hwnas generate $(DEMO_OPTIONS) --out $(DEMO_RUN)
	@echo "Open $(DEMO_RUN)/report.html; the model files are in $(DEMO_RUN)/export."

# Two files of tests at a time; one thread each, as torch's threads would wait for each other.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Exported files where apps run them: tflite-runtime 2.14, Chromium, emulated Arm processors; and devices by the real ssh
# and adb. What cannot be installed here (apt-get needs root, and Debian) is told, and skipped by name.
test-runtimes: $(VENV)/.installed $(VENV)/.runtimes
	HWNAS_TFLITE_RUNTIME_PYTHON=$$(command -v $(abspath $(VENV))/tflite-runtime/bin/python) OMP_NUM_THREADS=1 \
		PATH="$$PATH:$(abspath $(VENV))/sshd/usr/sbin" $(BIN)/python -m pytest -m "" -rs -n 2 --dist loadfile \
		tests/export/test_linux_kit.py tests/export/test_web_kit.py tests/export/test_emulated_export.py \
		tests/devices/test_servers.py tests/devices/test_real_connections.py tests/devices/test_phone.py

$(VENV)/.runtimes: $(VENV)/.installed
	command -v chromium && command -v qemu-aarch64-static && command -v adb || { apt-get -q update && \
		apt-get -q -y install --no-install-recommends chromium qemu-user-static adb openssh-client; } \
		|| echo "no Chromium, qemu-user or adb"
	# not installed, as that would start it for good
	command -v sshd || (cd $(VENV) && apt-get -q download openssh-server && dpkg-deb -x openssh-server_*.deb sshd) \
		|| echo "no sshd"
	npm install --no-save --silent onnxruntime-web || echo "no onnxruntime-web"
	$(PYTHON) -m venv $(VENV)/tflite-runtime
	$(VENV)/tflite-runtime/bin/python -m pip install --quiet --disable-pip-version-check \
		"tflite-runtime==2.14.0" "numpy<2" pillow pyyaml || rm -r $(VENV)/tflite-runtime
	touch $@

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
