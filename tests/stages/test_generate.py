"""The whole pipeline on real images: killed in its stages, it ends with the same winner as undisturbed."""

import json
import shutil
import signal
import statistics
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
from quick import QUICK, started

from hwnas.devices import load_profile
from hwnas.devices.fake import FakeDevice
from hwnas.objective import SAME_LATENCY
from hwnas.runtimes import RUNTIMES
from hwnas.spaces import PUBLISHED
from hwnas.stages import patience
from hwnas.stages.patience import JUDGED, PATIENCE
from hwnas.storage import Journal, read_json, write_json

ROUNDS = load_profile("fake").timing.rounds
SPACE = Path(__file__).with_name("tiny_space.yaml")
# Every stage is run many times; with a front of several candidates, as a winner has to give way to the next.
TINY = (*QUICK, "--space", SPACE, "--method", "spos", "--supernet-epochs", "2")
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
    done = hwnas("generate", *TINY, "--out", run)
    assert done.returncode == 0, done.stderr
    return run


def kill_at(moment: str, run) -> None:
    """Starts or continues the run, and kills it for real as soon as it says that it is there."""
    with started("generate", *TINY, "--out", run) as (process, stderr):
        seen = []
        for line in stderr:
            seen.append(line)
            if moment in line:
                break
        else:
            pytest.fail(f"{moment!r} was never reached: {''.join(seen)}")
        process.kill()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    "moments",
    [MOMENTS[1:-2:3], pytest.param(MOMENTS, marks=pytest.mark.slow)],
    ids=["in some stages", "in every stage"],
)
def test_killed_again_and_again_it_ends_with_the_same_winner(hwnas, undisturbed, tmp_path, moments):
    run = tmp_path / "run"
    for moment in moments:
        kill_at(moment, run)
    done = hwnas("generate", *TINY, "--out", run)
    assert done.returncode == 0, done.stderr
    for name in ("table.jsonl", "networks.jsonl", "candidates.jsonl"):
        mine, theirs = (Journal(folder / name).records[1:] for folder in (run, undisturbed))
        assert mine == theirs
    assert Journal(run / "trials.jsonl").records == Journal(undisturbed / "trials.jsonl").records
    for name in ("feasible.json", "front.json", "selection.json", "measure.json", "images/splits.json"):
        assert read_json(run / name) == read_json(undisturbed / name), name
    mine, theirs = (read_json(folder / "train.json") for folder in (run, undisturbed))
    for label, found in mine.items():
        assert found | {"seconds": 0} == theirs[label] | {"seconds": 0}


def test_every_candidate_keeps_the_budget_and_the_searches_are_equal_in_length(undisturbed):
    trials, feasible = Journal(undisturbed / "trials.jsonl").records, read_json(undisturbed / "feasible.json")
    assert [t["strategy"] for t in trials] == ["random"] * 8 + ["evolution"] * 8
    assert feasible["limits"] == {"latency_upper_ms": feasible["budget_ms"]}
    assert all(t["latency_ms"] <= t["latency_upper_ms"] <= feasible["budget_ms"] for t in trials)


def test_what_is_shipped_runs_alone_and_knows_its_labels(undisturbed):
    folder = undisturbed / "export"
    assert {p.name for p in folder.iterdir()} >= {"model.onnx", "model.tflite", "labels.txt", "preprocessing.json"}
    assert {p.name for p in folder.iterdir()} >= {"golden.png", "golden.json", "MODEL_CARD.md"}
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


@pytest.mark.parametrize(
    ("runtime", "dtype"),
    [pytest.param("litert", "fp16", marks=pytest.mark.slow), ("ort", "int8"), ("fake", "fp16")],
)
def test_a_profile_of_less_precision_ships_and_measures_a_file_of_its_own(hwnas, undisturbed, tmp_path, runtime, dtype):
    run, profile = tmp_path / "run", tmp_path / "mine.yaml"
    shutil.copytree(undisturbed, run)
    (run / "export.json").unlink()
    device = "fake" if runtime == "fake" else "host"
    profile.write_text(f"device: {device}\nruntime: {runtime}\ndtype: {dtype}\nthreads: 1\ntiming: {{rounds: 1}}\n")
    write_json(run / "config.json", read_json(run / "config.json") | {"on": str(profile)})
    write_json(run / "feasible.json", read_json(run / "feasible.json") | {"budget_ms": 100})  # whatever this host is
    done = hwnas("export", "--precisions", "fp32", "--max-drop", "100", "--out", run)  # it was trained for seconds only
    assert done.returncode == 0, done.stderr
    found = read_json(run / "export.json")["files"][f"{runtime}_{dtype}"]
    path = run / "export" / f"model.{dtype}{RUNTIMES[runtime].suffix}"
    assert (found["path"], found["size_bytes"]) == (path.name, path.stat().st_size)
    if runtime != "fake":
        assert found["top1_agreement"] > 0.9
        assert found["test_accuracy"] > 0
        assert json.loads(RUNTIMES[runtime].read_metadata(path)["labels"]) == list("0123456789")
    done = hwnas("measure", "--out", run)
    assert done.returncode == 0, done.stderr
    assert f"{path.name}: median" in done.stderr


def test_the_baseline_is_the_measured_width_nearest_to_the_winner(undisturbed):
    selection = read_json(undisturbed / "selection.json")
    winner_ms, baseline_ms = (selection[label]["measured_ms"] for label in ("winner", "mobilenet_v2"))
    rows = [
        r for r in Journal(undisturbed / "candidates.jsonl").records if r.get("network", "").startswith("mobilenet_v2")
    ]
    widths_ms = [statistics.median(r["times_ms"]) for r in rows]
    nearest_ms = min(abs(ms - winner_ms) for ms in widths_ms)  # of those that the bisection measured
    assert abs(baseline_ms - winner_ms) <= 1.01 * nearest_ms
    assert winner_ms <= 1.03 * read_json(undisturbed / "feasible.json")["budget_ms"]


def test_any_published_networks_can_be_the_baselines(hwnas, undisturbed, tmp_path):
    run, names = tmp_path / "run", ("mobilenet_v3_large", "fbnet_c")
    shutil.copytree(undisturbed, run)
    (run / "selection.json").unlink()
    done = hwnas("select", "--baselines", ", ".join(names), "--out", run)
    assert done.returncode == 0, done.stderr
    selection = read_json(run / "selection.json")
    assert list(selection) == ["winner", "random", *names, "attempts"]
    assert {selection[name]["space"] for name in names} == {PUBLISHED[name].space for name in names}
    for name in names:
        near = abs(selection[name]["measured_ms"] / selection["winner"]["measured_ms"] - 1) <= SAME_LATENCY
        assert near != (f"no width of {PUBLISHED[name].title} is as fast" in done.stderr)
    done = hwnas("train", "--baselines", "fbnet_a", "--out", run)
    assert done.returncode == 1
    assert "--baselines is" in done.stderr


def test_a_second_call_changes_nothing(hwnas, undisturbed):
    before = {name: (undisturbed / name).read_bytes() for name in ("trials.jsonl", "selection.json", "export.json")}
    done = hwnas("generate", *TINY, "--out", undisturbed)
    assert done.returncode == 0, done.stderr
    assert {name: (undisturbed / name).read_bytes() for name in before} == before


def test_what_is_measured_after_the_fit_does_not_change_the_predictor(hwnas, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    set_measured(run, read_json(run / "selection.json")["winner"]["arch"], 1.07)
    done = hwnas("fit", "--out", run)
    assert done.returncode == 0, done.stderr
    assert (run / "predictor.json").read_bytes() == (undisturbed / "predictor.json").read_bytes()


def set_measured(run, arch, factor) -> None:
    """Rewrites what `candidates.jsonl` says of an architecture."""
    rows = (run / "candidates.jsonl").read_text().splitlines()
    key = "tiny-r32-w0.25-n10-" + ".".join(map(str, arch))
    records = [json.loads(row) for row in rows]
    assert any(r.get("network") == key for r in records)
    for r in records:
        if r.get("network") == key:
            r["times_ms"] = [factor * t for t in r["times_ms"]]
    (run / "candidates.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def slower(found, factor):
    """The same measurement on a device that is so many times as slow."""
    return replace(found, times_ms=tuple(factor * t for t in found.times_ms))


def stay_slow(run, arch, monkeypatch) -> None:
    """An architecture is much too slow, and whenever it is measured again."""
    together = patience.measure_together

    def slow_together(files, profile, networks):
        found = together(files, profile, networks)
        is_slow = JUDGED in networks and list(networks[JUDGED].arch) == arch
        return {label: slower(m, 99) if is_slow and label == JUDGED else m for label, m in found.items()}

    set_measured(run, arch, 99)
    monkeypatch.setattr(patience, "measure_together", slow_together)


def slow_down(factor, monkeypatch) -> None:
    """The device takes so many times as long for whatever it runs."""
    measure = FakeDevice.measure
    monkeypatch.setattr(FakeDevice, "measure", lambda *call: slower(measure(*call), factor))


@pytest.fixture
def unmeasured(undisturbed, tmp_path):
    """A copy of the run before its exported file was measured, and its winner."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / "measure.json").unlink()
    return run, read_json(run / "selection.json")["winner"]


def test_a_candidate_that_is_too_slow_when_measured_gives_way_to_the_next(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    stay_slow(run, first["arch"], monkeypatch)
    done = hwnas("generate", *TINY, "--out", run)
    assert done.returncode == 0, done.stderr
    selection = read_json(run / "selection.json")
    assert [a["arch"] for a in selection["attempts"]] == [first["arch"]]
    assert selection["winner"]["arch"] != first["arch"]
    assert "taking the next" in done.stderr


def test_a_candidate_that_was_too_slow_for_a_moment_is_taken_all_the_same(hwnas, unmeasured):
    run, first = unmeasured
    set_measured(run, first["arch"], 99)
    done = hwnas("select", "--out", run)
    assert done.returncode == 0, done.stderr
    selection = read_json(run / "selection.json")
    assert "it is measured again in 0 s" in done.stderr
    assert selection["attempts"] == []
    assert selection["winner"]["measured_ms"] == pytest.approx(first["measured_ms"], rel=0.05)


def test_a_file_that_is_too_slow_gives_way_to_the_next(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    measure = FakeDevice.measure

    def slow_first_file(self, model, config):
        found = measure(self, model, config)
        exported = run / "export" / f"model{RUNTIMES['fake'].suffix}"
        is_first = model == exported and read_json(run / "selection.json")["winner"]["arch"] == first["arch"]
        return slower(found, 2) if is_first else found

    monkeypatch.setattr(FakeDevice, "measure", slow_first_file)
    done = hwnas("generate", *TINY, "--out", run)
    assert done.returncode == 0, done.stderr
    measured = read_json(run / "measure.json")
    assert [a["arch"] for a in measured["attempts"]] == [first["arch"]]
    assert measured["within_budget"]
    assert read_json(run / "selection.json")["winner"]["arch"] != first["arch"]
    assert "breaks a limit by more than 3 %" in done.stderr
    report = (run / "report.html").read_text()
    assert "<h3>Not taken</h3>" in report
    assert f"measured beside it, took {measured['device_slowdown']:.2f} times as long as then." in report


def test_a_file_that_is_too_slow_for_a_moment_is_measured_again(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    measure, calls = FakeDevice.measure, []

    def slow_at_first(self, model, config):
        found = measure(self, model, config)
        calls.extend([model] if model.parent == run / "export" else [])
        return slower(found, 2) if len(calls) <= ROUNDS else found

    monkeypatch.setattr(FakeDevice, "measure", slow_at_first)
    done = hwnas("measure", "--out", run)
    assert done.returncode == 0, done.stderr
    measured, chosen = read_json(run / "measure.json"), read_json(run / "selection.json")
    assert done.stderr.count("so it is measured again in 0 s") == 1
    assert len(calls) == 2 * ROUNDS
    assert (measured["within_budget"], measured["attempts"]) == (True, [])
    assert chosen["winner"]["arch"] == first["arch"]
    then_ms = chosen["mobilenet_v2"]["measured_ms"]
    assert measured["baselines_ms"]["mobilenet_v2"] < 1.5 * then_ms  # of the sweep in which nothing was slow


def test_a_slow_device_costs_no_trained_network(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    with monkeypatch.context() as slowly:
        slow_down(2, slowly)
        done = hwnas("measure", "--out", run)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("so it is measured again in 0 s") == PATIENCE
    assert "but the device is 2.0" in done.stderr
    assert "so nothing is decided: let the device come to rest" in done.stderr
    assert not (run / "measure.json").exists()
    done = hwnas("measure", "--out", run)
    assert done.returncode == 0, done.stderr
    assert (read_json(run / "measure.json")["attempts"], read_json(run / "selection.json")["winner"]) == ([], first)


def test_a_slow_device_costs_no_candidate(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    set_measured(run, first["arch"], 2)
    chosen = (run / "selection.json").read_bytes()
    with monkeypatch.context() as slowly:
        slow_down(2, slowly)
        done = hwnas("select", "--out", run)
    assert done.returncode == 1
    assert "so nothing is decided" in done.stderr
    assert (run / "selection.json").read_bytes() == chosen
    done = hwnas("select", "--out", run)
    assert done.returncode == 0, done.stderr
    assert read_json(run / "selection.json")["winner"]["arch"] == first["arch"]


def test_a_network_that_is_too_slow_even_for_a_slow_device_gives_way(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    stay_slow(run, first["arch"], monkeypatch)
    slow_down(1.5, monkeypatch)
    done = hwnas("select", "--out", run)
    assert "so it is measured again in 0 s" in done.stderr
    assert "taking the next" in done.stderr


def test_where_no_candidate_fits_the_exit_status_says_so(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    stay_slow(run, first["arch"], monkeypatch)
    write_json(run / "config.json", read_json(run / "config.json") | {"attempts": 1})
    done = hwnas("generate", "--out", run)
    assert done.returncode != 0
    assert "none of the 1 best candidates keeps the budget" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_exported_or_measured_that_is_not_the_winner(hwnas, unmeasured, monkeypatch):
    run, first = unmeasured
    stay_slow(run, first["arch"], monkeypatch)
    assert hwnas("select", "--out", run).returncode == 0
    for stage, needed in (("export", "is not trained yet; run `hwnas train`"), ("measure", "run `hwnas export` first")):
        done = hwnas(stage, "--out", run)
        assert done.returncode != 0
        assert needed in done.stderr
    assert not (run / "measure.json").exists()


def test_a_damaged_checkpoint_can_be_mended(hwnas, unmeasured):
    run, _ = unmeasured
    checkpoint = run / "train" / f"{read_json(run / 'export.json')['checkpoint']}.pt"
    before = checkpoint.read_bytes()
    shutil.rmtree(run / "export")
    checkpoint.write_bytes(before[:1000])
    assert "is damaged" in hwnas("export", "--out", run).stderr
    checkpoint.unlink()
    assert "is not there; run the stage that trains it" in hwnas("export", "--out", run).stderr
    assert hwnas("train", "--out", run).returncode == 0
    assert hwnas("export", "--precisions", "fp32", "--out", run).returncode == 0
    assert (run / "export" / "model.tflite").exists()


def test_trials_of_another_predictor_are_refused(hwnas, unmeasured):
    run, _ = unmeasured
    predictor = read_json(run / "predictor.json")
    write_json(run / "predictor.json", predictor | {"weights": {n: 2 * w for n, w in predictor["weights"].items()}})
    done = hwnas("search", "--out", run)
    assert done.returncode != 0
    assert "trials.jsonl is of a search with another predictor" in done.stderr
    assert "Traceback" not in done.stderr
