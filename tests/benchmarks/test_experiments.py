"""Experiments that run `hwnas`: what they share, that their time ends, and what their tables say."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from hwnas.storage import Journal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules under benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import accuracy
    import budgets
    import runs

    return Namespace(accuracy=accuracy, budgets=budgets, runs=runs)


def ended(out, *stages):
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / "events.jsonl")
    for stage in stages:
        journal.append({"stage": stage, "event": "start"})
        journal.append({"stage": stage, "event": "end", "seconds": 2.0})


def test_a_smaller_data_set_has_the_first_images_of_every_class(benchmarks, tmp_path):
    sizes = np.arange(1, 41)
    offset = np.concatenate([[0], np.cumsum(sizes)])
    jpeg = np.repeat(np.arange(40), sizes).astype(np.uint8)  # picture i is i + 1 times the byte i
    label, is_test = np.arange(40) % 2, np.arange(40) >= 30
    np.savez(tmp_path / "all.npz", jpeg=jpeg, offset=offset, label=label, is_test=is_test, classes=["a", "b"])
    small = benchmarks.runs.first_images(tmp_path / "all.npz", tmp_path / "new/small.npz", train=6, test=4)
    with np.load(small) as found:
        pictures = [found["jpeg"][a:b] for a, b in zip(found["offset"][:-1], found["offset"][1:], strict=True)]
        assert [int(picture[0]) for picture in pictures] == [0, 1, 2, 3, 4, 5, 30, 31, 32, 33]
        assert [len(picture) for picture in pictures] == [1, 2, 3, 4, 5, 6, 31, 32, 33, 34]
        assert found["label"].tolist() == [0, 1] * 5
        assert found["is_test"].sum() == 4


def test_a_stage_waits_for_those_before_it_and_runs_once(benchmarks, tmp_path, monkeypatch):
    runs, called = benchmarks.runs, []
    monkeypatch.setattr(runs, "hwnas", lambda clock, stage, out, options: called.append((stage, dict(options))) or True)
    out = tmp_path / "run"
    ended(out, "plan", "profile", "fit")
    runs.run_stages(runs.Clock(None), out, ("plan", "feasible", "search"), {"seed": 3})
    assert called == [("feasible", {})]
    runs.run_stages(runs.Clock(None), tmp_path / "new", ("plan", "search"), {"seed": 3})
    assert called[1:] == [("plan", {"seed": 3})]
    assert runs.seconds_of(out) == {"plan": 2.0, "profile": 2.0, "fit": 2.0}


def test_the_time_ends_and_a_failure_is_told(benchmarks, tmp_path):
    runs = benchmarks.runs
    with pytest.raises(runs.TimeIsUp):
        runs.run_stages(runs.Clock(0.0001, start_s=0.0), tmp_path / "run", ("plan",), {})
    with pytest.raises(SystemExit, match=r"plan of .* failed"):
        runs.run_stages(runs.Clock(None), tmp_path / "run", ("plan",), {"data": "nowhere"})
    with pytest.raises(SystemExit, match="--stages names drive"):
        runs.chosen_stages("plan,drive")


def test_a_run_begins_with_what_another_measured(benchmarks, tmp_path):
    (tmp_path / "a/images").mkdir(parents=True)
    (tmp_path / "a/images/x.npy").write_bytes(b"pixels")
    (tmp_path / "a/table.jsonl").write_text("rows")
    benchmarks.runs.begin_with(tmp_path / "a", tmp_path / "b", ("images", "table.jsonl", "not there"))
    (tmp_path / "b/table.jsonl").write_text("more rows")
    assert (tmp_path / "a/table.jsonl").read_text() == "rows"
    assert (tmp_path / "b/images/x.npy").samefile(tmp_path / "a/images/x.npy")


def record(label, seed, accuracy, ms):
    return {
        **{"data": "cifar10", "budget": 0.5, "seed": seed, "schedule": "cpu", "network": label, "budget_ms": 1.0},
        **{"measured_ms": ms, "test_accuracy": accuracy, "test_images": 10_000, "epochs": 3, "seconds": 60.0},
        **{"macs": 1_000_000, "params": 1000, "checkpoint": label, "stages_s": {"search": 90.0, "train": 120.0}},
    }


def test_accuracies_are_compared_seed_by_seed(benchmarks, capsys):
    pairs = [(0.62, 0.60), (0.63, 0.60), (0.64, 0.60)]
    records = [
        record(label, seed, accuracy, ms)
        for seed, (winner, other) in enumerate(pairs)
        for label, accuracy, ms in (("winner", winner, 0.5), ("mobilenet_v2", other, 0.51))
    ]
    benchmarks.accuracy.print_markdown(records)
    told = capsys.readouterr().out
    assert "| searched | 63.0 % (62.0 to 64.0) | - | 1.000, 1.000, 1.000 |" in told
    # Student's t of 2 degrees of freedom: 3 +- 4.303 x 1 / sqrt(3)
    assert "| MobileNetV2, width-scaled | 60.0 % (60.0 to 60.0) | +3.0 (+0.5 to +5.5) | 1.020, 1.020, 1.020 |" in told
    assert "| 1.50 |" in told  # the search took 90 s, the winner's training 60
    assert len(benchmarks.accuracy.figure(records).data) == 2


def test_what_a_budget_leaves_unused_is_told(benchmarks, capsys):
    common = {"seed": 0, "too_slow": 0, "budget_ms": 1.0, "derived_upper_ms": 0.99, "upper_ms": 0.96}
    records = [
        {**common, "search": "spos", "budget": 0.5, "path": "a", "predicted_ms": 0.95, "measured_ms": 0.98},
        {**common, "search": "spos", "budget": 0.8, "path": "b", "predicted_ms": 0.99, "measured_ms": 1.02},
    ]
    benchmarks.budgets.print_markdown(records, {"a": 0.97})
    told = capsys.readouterr().out
    assert "| spos | 1.0000 ms | 0.9600 ms | 0.9500 ms | 0.9800 ms | 0.9700 ms | +2.0 % | 0 |" in told
    assert "| spos | 1 of 2 | 2 of 2 | 1.0 % | 4.0 % | 3.0 % | 0.0 % |" in told
