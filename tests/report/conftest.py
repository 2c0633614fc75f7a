"""A run directory as the stages leave it, small enough to write down."""

import json
import random

import pytest

from hwnas.spaces import SpaceConfig, build_space, macs, params
from hwnas.spaces.operators import is_free

SPACE = build_space(SpaceConfig("proxyless_small", 32, 2))
HOSTILE = '<script>alert("x")</script>'


NARROWING = [
    {"skip_share": 0.1, "entropy": 0.9, "dominant": "k3e3", "dominant_share": 0.2},
    {"skip_share": 0.9, "entropy": 0.2, "dominant": "skip", "dominant_share": 0.9},
]
TRUST = {
    "learnt": {"verdict": "good", "best": 0.57, "guessing": 0.1, "share": 0.756},
    "baseline": {
        "verdict": "good",
        "method": {"count": 4, "best": 0.57, "above_share": 1.0},
        "random": {"count": 4, "mean": 0.515, "best": 0.53},
        "expected_best": {"of": 4, "mean": 0.525, "low": 0.51, "high": 0.53},
    },
    "trained": {
        **{"verdict": "unclear", "same_network": False, "winner": 0.9, "random": 0.88, "difference": 0.02},
        **{"low": -0.0123, "high": 0.0456, "images": 1000},
    },
    "ranking": {
        **{"verdict": "bad", "tau": 0.25, "low": -0.5, "high": 0.75, "epochs": 3},
        "networks": [
            {"supernet_accuracy": 0.4, "supernet_likelihood": 0.3, "test_accuracy": 0.8},
            {"supernet_accuracy": 0.5, "supernet_likelihood": 0.4, "test_accuracy": 0.9},
        ],
    },
    "collapse": {
        **{"verdict": "bad", "over": "epoch", "alarms": ["Skips have taken over: the search has collapsed."]},
        **{"history": NARROWING, "random_draws": NARROWING[0]},
    },
    "gap": {"verdict": "bad", "mixture": 0.75, "derived": 0.5, "gap": 0.25},
}


def network(label, arch):
    """A network as `selection.json` holds it."""
    ops = SPACE.ops(arch)
    return {
        "label": label,
        "space": SPACE.name,
        "resolution": 32,
        "num_classes": 2,
        "width_mult": 1.0,
        "arch": list(arch),
        "choices": SPACE.to_names(arch),
        "supernet_accuracy": 0.56,
        "supernet_likelihood": 0.44,
        "predicted_ms": 1.5,
        "measured_ms": 1.6,
        "file_mb": 2.5,
        "peak_memory_mb": 7.25,
        "macs": macs(ops),
        "params": params(ops),
    }


def trial(strategy, arch, accuracy, latency_ms):
    ops = SPACE.ops(arch)
    judged = {"accuracy": accuracy, "likelihood": accuracy / 2}
    found = {"strategy": strategy, "arch": list(arch), **judged, "latency_ms": latency_ms}
    return {**found, "macs": macs(ops), "params": params(ops)}


def finalists(archs):
    """Of which training preferred the one that the super-network liked less."""
    return [
        {**trial("random", archs[0], 0.5, 1.0), "strategies": ["random"], "alone": alone(0.71)},
        {**trial("evolution", archs[-1], 0.6, 1.5), "strategies": ["evolution", "random"], "alone": alone(0.69)},
    ]


def alone(accuracy):
    return {"accuracy": accuracy, "likelihood": accuracy - 0.1, "epochs": 3, "seconds": 1.0}


def files(archs):
    """The JSON files of a run whose winner is the last architecture, and whose random one is the first."""
    chosen = {"winner": archs[-1], "random": archs[0], "mobilenet_v2": archs[1]}
    slow = {
        "arch": list(archs[2]),
        "choices": SPACE.to_names(archs[2]),
        "measured_ms": 9.0,
        "reason": "9 ms is over 2 ms",
    }
    file = {"path": "model.onnx", "size_bytes": 2_000_000, "max_relative_error": 1e-6}
    return {
        "config.json": {
            **{"data": HOSTILE, "on": "fake", "space": SPACE.name, "resolution": 32, "width_mult": 1.0},
            "seed": 0,
        },
        "images/splits.json": {"classes": ["a", "b"]},
        "plan.json": {"space": SPACE.name, "operators": 52, "measured": 2, "remaining": 50, "estimated_s": 3.0},
        "selection.json": {label: network(label, arch) for label, arch in chosen.items()} | {"attempts": []},
        "train.json": {
            label: {"test_accuracy": accuracy, "test_images": 1000, "checkpoint": label}
            for label, accuracy in (("winner", 0.9), ("random", 0.7), ("mobilenet_v2", 0.89))
        },
        "predictor.json": {
            **{"method": "table + constant", "weights": {"table": 1.1, "constant": 0.2}},
            **{"mape_pct": 2.5, "max_error_pct": 5.25, "steadiness": "the device was noisy"},
            **{"bias_pct": -0.5, "kendall_tau": 0.97, "identity": {"soc": "a phone"}},
            "networks": [{"arch": [], "predicted_ms": 1.1, "left_out_ms": 1.0, "measured_ms": 1.2}],
            "op_ms": {str(spec): 0.1 for spec in SPACE.all_ops() if not is_free(spec)},
        },
        "feasible.json": {
            **{"budget_ms": 2.0, "smallest_ms": 0.5, "median_ms": 3.0, "largest_ms": 9.0},
            **{"share_within": 0.2512, "samples": 400, "limits": {"latency_upper_ms": 2.0}, "confidence": 0.9},
        },
        "front.json": {"front": [], "random_front": [], "finalists": {"asked": 2, "networks": finalists(archs)}},
        "trust.json": TRUST,
        "compute.json": {"device": "cpu", "channels_last": True, "autocast": False, "timings_ms": {"cpu": 52.5}},
        "measure.json": {
            **{"checkpoint": "winner", "runtime": "ort", "budget_ms": 2.0, "median_ms": 1.7654, "within_budget": True},
            **{"file_mb": 2.625, "peak_memory_mb": 7.5},
            **{"baselines_ms": {"random": 1.2345, "mobilenet_v2": 1.7321}, "attempts": [slow]},
        },
        "export.json": {
            "checkpoint": "winner",
            "files": {"ort": {**file, "top1_agreement": 1.0, "images": 200, "test_accuracy": 0.91}},
        },
    }


def journals(archs):
    """The journals of the same run."""
    half = len(archs) // 2
    return {
        "trials.jsonl": [
            trial("random" if i < half else "evolution", a, 0.5 + i / 100, 1 + i / 14) for i, a in enumerate(archs)
        ],
        "supernet.jsonl": [{"epoch": 1, "loss": 2.0}],
        "train/winner.jsonl": [{"epoch": 1, "loss": 1.0, "search_accuracy": 0.7}],
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


@pytest.fixture
def run(tmp_path):
    """A finished run."""
    rng = random.Random(0)
    archs = [SPACE.sample(rng) for _ in range(8)]
    texts = {name: json.dumps(content) for name, content in files(archs).items()}
    texts |= {name: "".join(json.dumps(r) + "\n" for r in records) for name, records in journals(archs).items()}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def edit(run):
    """Changes a JSON file of the run: `edit("measure.json", within_budget=False)`."""

    def change(name, **values):
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | values))

    return change
