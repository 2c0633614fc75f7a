"""The whole pipeline on real images: killed in every stage, it ends with the same winner as undisturbed."""

import json
import re
import shutil
import signal
import statistics
import subprocess

import onnxruntime
import pytest
from conftest import QUICK, command

from hwnas.runtimes import RUNTIMES
from hwnas.storage import Journal, read_json

# What the program prints when it is in the middle of each stage.
MOMENTS = (
    "== plan",
    "profiling: ",
    "measuring whole networks: ",
    "== feasible",
    "training the super-network: 1 of",
    "random search: ",
    "evolution search: ",
    "measuring MobileNetV2 widths: ",
    "training winner: 1 of",
    "training mobilenet_v2: 1 of",
    "exporting: 1 of",
    "== measure",
    "== report",
)


@pytest.fixture(scope="module")
def undisturbed(hwnas, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = hwnas("generate", *QUICK, "--out", run)
    assert done.returncode == 0, done.stderr
    return run


def kill_at(moment: str, run) -> None:
    """Starts or continues the run, and kills it for real as soon as it says that it is there."""
    process = subprocess.Popen(command("generate", *QUICK, "--out", run), stderr=subprocess.PIPE, text=True)
    seen = []
    for line in process.stderr:
        seen.append(line)
        if moment in line:
            break
    else:
        pytest.fail(f"{moment!r} was never reached: {''.join(seen)}")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_in_every_stage_it_ends_with_the_same_winner(hwnas, undisturbed, tmp_path):
    run = tmp_path / "run"
    for moment in MOMENTS:
        kill_at(moment, run)
    done = hwnas("generate", *QUICK, "--out", run)
    assert done.returncode == 0, done.stderr
    for name in ("table.jsonl", "networks.jsonl"):
        mine, theirs = (Journal(folder / name).records[1:] for folder in (run, undisturbed))
        assert mine == theirs
    assert Journal(run / "trials.jsonl").records == Journal(undisturbed / "trials.jsonl").records
    for name in ("feasible.json", "front.json", "selection.json", "measure.json", "images/splits.json"):
        assert read_json(run / name) == read_json(undisturbed / name), name
    mine, theirs = (read_json(folder / "train.json") for folder in (run, undisturbed))
    for label, found in mine.items():
        assert found | {"seconds": 0} == theirs[label] | {"seconds": 0}


def test_every_candidate_keeps_the_budget_and_the_searches_are_equal_in_length(undisturbed):
    trials, budget_ms = (
        Journal(undisturbed / "trials.jsonl").records,
        read_json(undisturbed / "feasible.json")["budget_ms"],
    )
    assert [t["strategy"] for t in trials] == ["random"] * 8 + ["evolution"] * 8
    assert all(t["latency_ms"] <= budget_ms for t in trials)


def test_what_is_shipped_runs_alone_and_knows_its_labels(undisturbed):
    folder = undisturbed / "export"
    assert {p.name for p in folder.iterdir()} >= {"model.onnx", "model.tflite", "labels.txt", "preprocessing.json"}
    labels = (folder / "labels.txt").read_text().split()
    assert labels == list("0123456789")
    for runtime in ("litert", "ort"):
        metadata = RUNTIMES[runtime].read_metadata(folder / f"model{RUNTIMES[runtime].suffix}")
        assert json.loads(metadata["labels"]) == labels
        assert json.loads(metadata["preprocessing"]) == read_json(folder / "preprocessing.json")
    found = read_json(undisturbed / "export.json")["files"]
    assert all(found[r]["max_relative_error"] < 1e-4 and found[r]["top1_agreement"] == 1 for r in ("litert", "ort"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 32, 32]


def test_the_baseline_is_the_measured_width_nearest_to_the_winner(undisturbed):
    selection = read_json(undisturbed / "selection.json")
    winner_ms, baseline_ms = (selection[label]["measured_ms"] for label in ("winner", "mobilenet_v2"))
    rows = [
        r for r in Journal(undisturbed / "networks.jsonl").records if r.get("network", "").startswith("mobilenet_v2")
    ]
    widths_ms = [statistics.median(r["times_ms"]) for r in rows]
    assert abs(baseline_ms - winner_ms) == pytest.approx(min(abs(ms - winner_ms) for ms in widths_ms), rel=0.01)
    assert winner_ms <= 1.03 * read_json(undisturbed / "feasible.json")["budget_ms"]


def test_a_second_call_changes_nothing(hwnas, undisturbed):
    before = {name: (undisturbed / name).read_bytes() for name in ("trials.jsonl", "selection.json", "export.json")}
    done = hwnas("generate", *QUICK, "--out", undisturbed)
    assert done.returncode == 0, done.stderr
    assert {name: (undisturbed / name).read_bytes() for name in before} == before


def test_a_candidate_that_is_too_slow_when_measured_gives_way_to_the_next(hwnas, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / "measure.json").unlink()
    first = read_json(run / "selection.json")["winner"]
    rows = (run / "networks.jsonl").read_text()
    key = re.escape('"network": "proxyless_small-r32-w0.25-n10-' + ".".join(map(str, first["arch"])) + '"')
    slow = re.sub(rf'({key}.*"times_ms": )\[[^]]*\]', r"\1[99.0]", rows)
    assert slow != rows
    (run / "networks.jsonl").write_text(slow)
    done = hwnas("generate", *QUICK, "--out", run)
    selection = read_json(run / "selection.json")
    assert [a["arch"] for a in selection["attempts"]] == [first["arch"]]
    assert done.returncode == 0, done.stderr
    assert selection["winner"]["arch"] != first["arch"]
    assert "over the budget: taking the next" in done.stderr
