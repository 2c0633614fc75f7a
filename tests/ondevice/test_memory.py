"""What loading a model takes, as the process tells that loads it."""

import json
import subprocess
import sys

import pytest

from hwnas.devices import load_profile
from hwnas.latency.profiler import build_model
from hwnas.ondevice import memory
from hwnas.spaces import SpaceConfig, build_space


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    space = build_space(SpaceConfig("proxyless_small", 96, 10))
    return build_model(
        space.ops((4,) * len(space.decisions)), load_profile("host_cpu1_ort_fp32"), tmp_path_factory.mktemp("m"), "m"
    )


def told_by(model, path=str(memory.STATUS)):
    """What the process says, `ps` being found in PATH."""
    code = f"from pathlib import Path; from hwnas.ondevice import memory; memory.STATUS = Path({path!r}); memory.main()"
    command = [sys.executable, "-c", code, "ort", "1", str(model), "60"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_without_proc_it_is_what_the_process_keeps(model):
    most, kept = told_by(model)["peak_memory_bytes"], told_by(model, "/nowhere/status")["peak_memory_bytes"]
    assert model.stat().st_size < kept
    assert 0.6 < kept / most < 1.5


def test_where_nothing_tells_it_says_so(model, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told_by(model, "/nowhere/status")["error"].startswith("OSError: there is no /nowhere/status, and `ps`")
