"""What a phone is sent runs on an Arm processor without Python or Linux's C library: qemu's, behind the real adb.

Its shell is this machine's; what it starts by `env`, as hwnas starts Python, runs on the emulated processor.
"""

import shlex
from pathlib import Path

import numpy as np
import pytest
from servers import Phone, needs

from hwnas.devices import RemoteDevice, load_profile, open_device
from hwnas.devices.remote import forget_connections
from hwnas.errors import UserError
from hwnas.latency.profiler import build_model, identity, measure_rows, rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.runtimes import RUNTIMES, emulated
from hwnas.runtimes.runtime import run_each
from hwnas.spaces import SpaceConfig, build_space

pytestmark = pytest.mark.slow

PROCESSOR = emulated.PROCESSORS["cortex-a76"]
SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))
PROFILE = """
device: adb
folder: {folder}
runtime: {runtime}
dtype: {dtype}
threads: 1
timing: {{rounds: 2, max_rounds: 2, settle_pct: 100, quarantine_pct: 1000, sentinel_every: 0, warmup_runs: 1, runs: 3,
  min_sample_ms: 0, clock: thread_cpu, timeout_s: 60}}
"""
ENV = """#!/bin/bash
while [[ "$1" == *=* ]]; do export "$1"; shift; done
exec {qemu} -cpu {cpu} -L {view} "$@"
"""
GETPROP = """#!/bin/sh
echo "[ro.product.manufacturer]: [Google]"
echo "[ro.product.model]: [Pixel 6]"
echo "[ro.soc.model]: [Tensor]"
echo "[ro.build.version.release]: [14]"
"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    needs("adb")
    try:
        qemu = emulated.find_qemu()
    except UserError as missing:
        pytest.skip(str(missing))
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "nothing").mkdir()
    view = emulated._view(tmp_path / "nothing", PROCESSOR, tmp_path / "view")
    texts = {
        "env": ENV.format(qemu=shlex.quote(qemu), cpu=PROCESSOR.cpu, view=view),
        "uname": "#!/bin/sh\necho aarch64\n",
        "getprop": GETPROP,
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    forget_connections()
    with Phone(tmp_path / "phone", {"PATH": f"{programs}:/usr/bin:/bin"}) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.mark.parametrize(("runtime", "dtype"), [("litert", "fp32"), ("litert", "int8"), ("ort", "fp32")])
def test_a_phone_needs_nothing_of_its_own(phone, tmp_path, runtime, dtype):
    path = tmp_path / "phone.yaml"
    path.write_text(PROFILE.format(folder=tmp_path / "kept", runtime=runtime, dtype=dtype))
    profile = load_profile(str(path))
    told = identity(profile, open_device(profile), SPACE)
    assert (told["device"], told["architecture"], told["os"]) == ("Google Pixel 6", "aarch64", "Android 14")
    rows = {key: (spec,) for key, spec in list(rows_to_measure(SPACE).items())[:3]}
    table = LatencyTable(tmp_path / "table.jsonl", told)
    measure_rows(rows, profile, table)
    assert set(table) == set(rows)
    assert {path.name.split("-")[0] for path in Path(tmp_path / "kept").iterdir()} == {
        *("code", "linux", "packages", "models")
    }


@pytest.mark.parametrize("runtime", ["litert", "ort"])
def test_a_phone_computes_what_this_host_computes(phone, tmp_path, runtime):
    path = tmp_path / "phone.yaml"
    path.write_text(PROFILE.format(folder=tmp_path / "kept", runtime=runtime, dtype="fp32"))
    profile = load_profile(str(path))
    model = build_model(SPACE.ops((0,) * len(SPACE.decisions)), profile, tmp_path, "net")
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    here = run_each(RUNTIMES[runtime].load(model, 1), images)
    there = RemoteDevice(profile).logits(model, images)
    assert np.ptp(here) > 0
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-3 * np.abs(here).max())
