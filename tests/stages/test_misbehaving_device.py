"""`hwnas profile` on a device that vanishes, hangs or answers rubbish, and killed itself: nothing measured is lost."""

import json
import random
import signal
import sys
import time
from collections import Counter

import pytest
from quick import started

from hwnas.devices import DEVICES
from hwnas.devices.local import LocalDevice
from hwnas.latency.profiler import rows_to_measure
from hwnas.latency.sweep import MOST_SILENT, MOST_SILENT_AT_FIRST
from hwnas.latency.table import LatencyTable
from hwnas.spaces import SpaceConfig, build_space

ROWS = list(rows_to_measure(build_space(SpaceConfig("proxyless_small", 32, 10))))
PROFILE = """
device: host
runtime: litert
dtype: fp32
threads: 1
timing: {rounds: 3, max_rounds: 3, settle_pct: 100, quarantine_pct: 1000, sentinel_every: 20, remeasure: 0,
  warmup_runs: 1, runs: RUNS, min_sample_ms: 0, clock: thread_cpu, timeout_s: TIMEOUT}
"""
BAD_WORKER = """
import json, os, re, signal, sys, time
BAD = {
    3: lambda: os.write(1, b"Segmentation fault\\n"),
    7: lambda: os.kill(os.getpid(), signal.SIGKILL),
    11: lambda: (os.write(1, b'{"times_ms": [1.0, '), time.sleep(600)),
    13: lambda: os.write(1, b'{"times_ms": [1.0, NaN]}\\n'),
    17: lambda: os.write(1, b'{"times_ms": []}\\n'),
    19: lambda: time.sleep(600),
    23: lambda: os.write(1, b'{"times_ms": [0.0, -1.0]}\\n'),
}
for line in sys.stdin:
    number = int(re.search("model([0-9]+)[.]", json.loads(line)["model"])[1])
    if number in BAD:
        BAD[number]()
    else:
        os.write(1, json.dumps({"times_ms": [1 + number / 100] * 3}).encode() + b"\\n")
"""
BAD_ROWS = {
    3: "answered 'Segmentation fault'",
    7: "ended with status -9",
    11: "did not answer within 2 s",
    13: "times_ms.1: Input should be a finite number",
    17: "neither times nor an error",
    19: "did not answer within 2 s",
    23: "times_ms.0: Input should be greater than 0",
}


def profile_at(path, runs=3, timeout_s=60):
    path.write_text(PROFILE.replace("RUNS", str(runs)).replace("TIMEOUT", str(timeout_s)))
    return path


def options(profile, run):
    return ("--data", "digits", "--on", profile, "--out", run)


@pytest.fixture
def device_with(monkeypatch):
    """Makes `host` a device whose measuring process runs this code instead."""

    def replace(code):
        class Replaced(LocalDevice):
            def command(self):
                return [sys.executable, "-c", code]

        monkeypatch.setitem(DEVICES, "host", Replaced)

    return replace


def test_a_sweep_outlives_a_misbehaving_device_and_a_sane_one_completes_it(hwnas, device_with, monkeypatch, tmp_path):
    profile, run = profile_at(tmp_path / "mine.yaml", timeout_s=2), tmp_path / "run"
    device_with(BAD_WORKER)
    done = hwnas("profile", *options(profile, run))
    assert done.returncode == 1
    assert f"hwnas: {len(BAD_ROWS)} operators could not be measured on mine, first {ROWS[3]}" in done.stderr
    table = LatencyTable.read(run / "table.jsonl")
    assert set(table.errors) == {ROWS[number] for number in BAD_ROWS}
    for number, part in BAD_ROWS.items():
        assert part in table.errors[ROWS[number]]
        assert "model" not in table.errors[ROWS[number]]  # the row's own name, and not that of a file that is gone
    assert set(table) == set(ROWS) - set(table.errors)
    assert {len(table.rounds(key)) for key in table} == {3}
    before, sound = (run / "table.jsonl").read_bytes(), {key: dict(table.rounds(key)) for key in table}
    monkeypatch.setitem(DEVICES, "host", LocalDevice)
    done = hwnas("profile", *options(profile_at(profile), run))
    assert done.returncode == 0, done.stderr
    assert (run / "table.jsonl").read_bytes().startswith(before)
    completed = LatencyTable.read(run / "table.jsonl")
    assert set(completed) == set(ROWS)
    assert completed.errors == {}
    assert {key: completed.rounds(key) for key in table} == sound  # what was sound was not measured again


def test_a_device_that_is_gone_ends_the_sweep_after_a_few_rows(hwnas, device_with, tmp_path):
    starts = tmp_path / "starts"
    device_with(f"open({str(starts)!r}, 'a').write('x'); raise SystemExit('no such device')")
    done = hwnas("profile", *options(profile_at(tmp_path / "mine.yaml"), tmp_path / "run"))
    assert done.returncode == 1
    assert "hwnas: 8 measurements in a row ended the measuring process: the device hangs or is gone" in done.stderr
    assert "no such device" in done.stderr
    assert f"0 of {len(ROWS)} rows are measured in all rounds" in done.stderr
    assert len(starts.read_text()) == MOST_SILENT_AT_FIRST


def test_a_device_that_hangs_in_the_middle_costs_a_few_timeouts_and_no_row(hwnas, device_with, monkeypatch, tmp_path):
    """Each measuring process is stopped for real once so many rows were measured."""
    seen, answered = tmp_path / "seen", len(ROWS) + 30
    profile, run = profile_at(tmp_path / "mine.yaml", timeout_s=0.5), tmp_path / "run"
    count = f"open({str(seen)!r}, 'a').write('x') and len(open({str(seen)!r}).read())"
    stops = "os.kill(os.getpid(), signal.SIGSTOP)"
    device_with(BAD_WORKER.replace("if number in BAD:", f"if {count} > {answered}:").replace("BAD[number]()", stops))
    done = hwnas("profile", *options(profile, run))
    assert done.returncode == 1
    assert "hwnas: 3 measurements in a row did not answer in time, nor did " in done.stderr
    assert f"{run / 'table.jsonl'}: see to the device, then run the same command again to go on" in done.stderr
    assert len(seen.read_text()) == answered + MOST_SILENT + 1
    before = (run / "table.jsonl").read_bytes()
    device_with(BAD_WORKER.replace("if number in BAD:", "if False:"))
    assert hwnas("profile", *options(profile, run)).returncode == 0
    assert (run / "table.jsonl").read_bytes().startswith(before)
    assert {len(LatencyTable.read(run / "table.jsonl").rounds(key)) for key in ROWS} == {3}


def test_a_row_that_fails_in_a_later_round_only_is_named_too(hwnas, device_with, tmp_path):
    """Its earlier rounds count, but they are fewer than the profile asks for."""
    seen = tmp_path / "seen"
    count = f"open({str(seen)!r}, 'a').write('x') and len(open({str(seen)!r}).read())"
    device_with(BAD_WORKER.replace("if number in BAD:", f"if {count} == 60:").replace("BAD[number]()", "BAD[7]()"))
    profile, run = profile_at(tmp_path / "mine.yaml"), tmp_path / "run"
    done = hwnas("profile", *options(profile, run))
    assert done.returncode == 1
    assert "1 operators could not be measured on mine" in done.stderr
    assert "status -9" in done.stderr
    device_with(BAD_WORKER.replace("if number in BAD:", "if False:"))
    assert hwnas("profile", *options(profile, run)).returncode == 0


def killed_in_the_middle(profile, run, lines):
    """Starts or continues the sweep, kills it for real once the journal has so many lines; its whole lines."""
    table = run / "table.jsonl"
    with started("profile", *options(profile, run)) as (process, stderr):
        deadline_s = time.monotonic() + 120
        while time.monotonic() < deadline_s and process.is_alive():
            if table.exists() and table.read_bytes().count(b"\n") >= lines:
                break
            time.sleep(0.001)
        process.kill()
        said = stderr.read()
    assert process.exitcode == -signal.SIGKILL, said
    content = table.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def test_killed_at_random_moments_nothing_is_lost_or_measured_twice(hwnas, tmp_path):
    profile, run, rng = profile_at(tmp_path / "mine.yaml", runs=12), tmp_path / "run", random.Random()
    before = b""
    for number in range(2):
        first = before.count(b"\n")
        whole = killed_in_the_middle(profile, run, rng.randint(first + 2, 60 * (number + 1)))
        assert whole.startswith(before)
        assert whole.count(b"\n") > first
        before = whole
    done = hwnas("profile", *options(profile, run))
    assert done.returncode == 0, done.stderr
    content = (run / "table.jsonl").read_bytes()
    assert content.startswith(before)
    records = [json.loads(line) for line in content.splitlines()[1:]]
    measured = Counter((r["op"], r["round"], r.get("attempt", 0)) for r in records if "op" in r)
    assert measured == Counter({(key, number, 0): 1 for key in ROWS for number in range(3)})
    sentinels = Counter((r["sweep"], r["round"], r["span"], r["attempt"]) for r in records if "sentinel" in r)
    assert set(sentinels.values()) == {1}
