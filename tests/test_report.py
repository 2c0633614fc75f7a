"""The report: complete where the run is, silent where it is not, self-contained, and escaped."""

import json
import random
import re

import pytest

from hwnas.report import SECTIONS, Findings, render_summary, summary_rows, wilson_interval, write_report
from hwnas.spaces import SpaceConfig, build_space, macs, params
from hwnas.spaces.layers import is_free

SPACE = build_space(SpaceConfig("proxyless_small", 32, 2))
HOSTILE = '<script>alert("x")</script>'


def network(label, arch):
    ops = SPACE.ops(arch)
    return {
        "label": label,
        "arch": list(arch),
        "choices": SPACE.to_names(arch),
        "predicted_ms": 1.5,
        "measured_ms": 1.6,
        "macs": macs(ops),
        "params": params(ops),
    }


@pytest.fixture
def run(tmp_path):
    rng = random.Random(0)
    archs = [SPACE.sample(rng) for _ in range(8)]
    trials = [
        {
            "strategy": "random" if i < 4 else "evolution",
            "arch": list(a),
            "accuracy": 0.5 + i / 100,
            "latency_ms": 1 + i,
        }
        | {"macs": macs(SPACE.ops(a)), "params": params(SPACE.ops(a))}
        for i, a in enumerate(archs)
    ]
    labels = ("winner", "random", "mobilenet_v2")
    files = {
        "config.json": {
            "data": HOSTILE,
            "on": "fake",
            "space": SPACE.name,
            "resolution": 32,
            "width_mult": 1.0,
            "seed": 0,
        },
        "images/splits.json": {"classes": ["a", "b"]},
        "selection.json": {label: network(label, archs[-1]) for label in labels} | {"attempts": []},
        "train.json": {label: {"test_accuracy": 0.9, "test_images": 100, "checkpoint": "n"} for label in labels},
        "predictor.json": {
            **{"method": "line", "scale": 1.1, "offset_ms": 0.0, "mape_pct": 2.5, "max_error_pct": 5.25},
            **{"bias_pct": -0.5, "kendall_tau": 0.97, "identity": {"soc": "a phone"}},
            "networks": [{"arch": [], "sum_ms": 1.0, "predicted_ms": 1.1, "measured_ms": 1.2}],
            "op_ms": {str(spec): 0.1 for spec in SPACE.all_ops() if not is_free(spec)},
        },
        "feasible.json": {
            "budget_ms": 2.0,
            "smallest_ms": 0.5,
            "median_ms": 3.0,
            "largest_ms": 9.0,
            "share_within": 0.25,
        },
        "measure.json": {"median_ms": 1.7654, "attempts": [{"reason": "9 ms is over 2 ms", "choices": ["k3e3"]}]},
        "export.json": {"files": {"ort": {"path": "model.onnx", "size_bytes": 2_000_000, "max_relative_error": 1e-6}}},
    }
    files["export.json"]["files"]["ort"] |= {"top1_agreement": 1.0, "images": 200, "test_accuracy": 0.91}
    journals = {
        "trials.jsonl": trials,
        "supernet.jsonl": [{"epoch": 1, "loss": 2.0}],
        "train/n.jsonl": [{"epoch": 1, "loss": 1.0, "search_accuracy": 0.7}],
        "events.jsonl": [
            {
                "stage": "plan",
                "event": "start",
                "utc": "now",
                "versions": {"torch": "2.14.1"},
                "machine": {"gpu": "none"},
            },
            {"stage": "plan", "event": "end", "utc": "now", "seconds": 1.5},
        ],
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    for name, records in journals.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in records))
    return tmp_path


def test_wilson_interval():
    low, high = wilson_interval(0.9, 100)  # Newcombe 1998's method 3
    assert (low, high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))


def test_everything_is_in_it_and_nothing_is_fetched(run):
    page = write_report(run).read_text()
    for text in ("1.765", "90.0 % (82.6 to 94.5)", "missed by 2.5 % on average and 5.2", "model.onnx", "torch 2.14.1"):
        assert text in page, text
    for text in ("9 ms is over 2 ms", "a phone", "25 %", *SECTIONS):
        assert text in page, text
    assert "not run yet" not in page
    assert not re.search(r'<(script|link|img|iframe)[^>]+(src|href)\s*=\s*"?https?:', page)
    assert HOSTILE not in page


def test_every_candidate_has_its_layers_on_hover(run):
    page = write_report(run).read_text()
    assert page.count("stage0: ") >= 8
    assert "accuracy 0.5700, 8 ms" in page


def test_the_summary_prefers_the_exported_files_latency(run):
    rows = summary_rows(Findings(run))
    assert [row[0] for row in rows] == ["searched", "best of random search", "MobileNetV2, width-scaled"]
    assert [row[2] for row in rows] == ["1.765 ms", "1.6 ms", "1.6 ms"]
    assert render_summary(run).row_count == 3


@pytest.mark.parametrize(
    "name",
    [
        *("selection.json", "train.json", "predictor.json", "feasible.json", "measure.json", "export.json"),
        *("trials.jsonl", "supernet.jsonl", "events.jsonl", "images/splits.json"),
    ],
)
def test_a_stage_that_has_not_run_leaves_no_error(run, name):
    (run / name).unlink()
    assert "hwnas report" in write_report(run).read_text()


def test_a_cut_off_journal_is_read_as_far_as_it_goes(run):
    path = run / "trials.jsonl"
    path.write_text(path.read_text()[:-30])
    assert "7 candidates" in write_report(run).read_text()


def test_an_empty_run_gives_an_empty_report(tmp_path):
    assert write_report(tmp_path).read_text().count("not run yet") == len(SECTIONS)
