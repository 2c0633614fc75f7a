"""Super-networks against known accuracies: equal path-steps, different networks, resumable, and the picks looked up."""

import importlib
import io
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from hwnas.errors import UserError
from hwnas.search import Budget, Limit, Trial
from hwnas.spaces import SpaceConfig, build_space, macs
from hwnas.storage import Journal

ROOT = Path(__file__).parents[2]
PER_CLASS, ARCHS = 40, 6
TINY = (
    *("--epochs", 3, "--images", 200, "--evaluation-images", 50, "--width-mult", 0.1, "--resolution", 8),
    *("--batch-size", 50, "--archs", ARCHS, "--population", 2, "--recalibration-batches", 1),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits in CIFAR-10's place, and accuracies that grow with the multiply-adds in the published ones' place."""
    folder, digits, rng = tmp_path_factory.mktemp("data"), load_digits(), np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(digits.target == c))[:PER_CLASS] for c in range(10)])
    files = []
    for image in digits.images[chosen]:
        Image.fromarray((image * 15).astype(np.uint8)).save(file := io.BytesIO(), "PNG")
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    (folder / "cifar10_jpeg").mkdir()
    np.savez(
        folder / "cifar10_jpeg/cifar10_jpeg.npz",
        jpeg=np.concatenate(files),
        offset=np.cumsum([0, *map(len, files)]),
        label=digits.target[chosen],
        is_test=np.arange(len(chosen)) % PER_CLASS >= PER_CLASS - 10,
        classes=np.array([str(c) for c in range(10)]),
    )
    space = build_space(SpaceConfig("nas_bench_macro", 32, 10))
    rows = []
    for arch in itertools.product(range(3), repeat=8):
        accuracy = macs(space.ops(arch)) / 1e7
        rows.append(f"{''.join(map(str, arch))},{accuracy},{accuracy - 0.1},{accuracy},{accuracy + 0.1}")
    (folder / "nas_bench_macro").mkdir()
    (folder / "nas_bench_macro/nas_bench_macro_cifar10.csv").write_text(
        "\n".join(["arch,mean_acc,acc1,acc2,acc3", *rows])
    )
    return folder


@pytest.fixture
def call(monkeypatch, data, tmp_path):
    """Runs a benchmark as from the command line; gives its exit status."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr("hwnas.search.evidence.RESAMPLES", 50)  # else intervals would take most of the time

    def run(name, *words):
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [name, "--data", str(data), "--out", str(tmp_path), *map(str, words)])
        return module.main()

    return run


def test_samplers_are_compared_once_and_searches_by_them_looked_up(call, tmp_path, capsys):
    rank = ["rank", *TINY, "--samplers", "spos", "fairnas"]
    assert call(*rank, "--minutes", 0) == 3
    assert not (tmp_path / "results.jsonl").exists()
    assert call(*rank, "--figure", tmp_path / "figure.svg") == 0
    results = Journal(tmp_path / "results.jsonl").records
    compared = [(r["sampler"], (r["by"], r["recalibrated"])) for r in results]
    ways = (("likelihood", True), ("accuracy", True), ("likelihood", False))
    assert compared == list(itertools.product(("spos", "fairnas"), ways))
    assert {r["sampler"]: r["epochs"] for r in results} == {"spos": 3, "fairnas": 1}  # fairnas: three paths a step
    assert all(-1 <= low <= tau <= high <= 1 for tau, low, high in (r["tau"] for r in results))
    assert all(0 <= r[limit]["better_share"] < 1 for r in results for limit in ("any", "limited"))
    assert (tmp_path / "figure.svg").read_text().count("<circle") == 2 * (ARCHS + 2)
    assert call(*rank) == 0
    assert Journal(tmp_path / "results.jsonl").records == results
    assert "| fairnas | likelihood, batch norm as trained |" in capsys.readouterr().out
    with pytest.raises(UserError, match="--images is 150 now but 200"):
        call(*rank, "--images", 150)


def test_ablation_asks_what_rank_trained(call, tmp_path, capsys, monkeypatch):
    assert call("rank", *TINY, "--samplers", "spos") == 0
    ablation = importlib.import_module("ablation")
    as_trained = {"way": ablation.Way(recalibrated=False)}
    cheap = {
        **{"default": {}, "batch norm as trained": as_trained, "random search": {"strategy": "random"}},
        "4 finalists": {"finalists": 4},
    }
    variants = {name: ablation.Variant(**changed, evaluations=8) for name, changed in cheap.items()}
    variants |= {cost: ablation.Variant(evaluations=4, cost=cost) for cost in ("mean", "macs", "few macs")}
    monkeypatch.setattr(ablation, "VARIANTS", variants)
    monkeypatch.setattr(ablation, "CALIBRATION_NETWORKS", 10)
    for _ in range(2):
        assert call("ablation", "--samplers", "spos", "--on", "fake", "--searches", 2) == 0
    searches = Journal(tmp_path / "ablation.jsonl").records
    assert [(r["search_seed"], r["variant"]) for r in searches] == list(itertools.product(range(2), variants))
    finals = [(r["accuracy"], r["variant"]) for r in searches if r["variant"] in ("default", "4 finalists")]
    assert all(alone <= best for (alone, _), (best, _) in zip(finals[::2], finals[1::2], strict=True))
    assert max(r["latency_share"] for r in searches if variants[r["variant"]].cost != "macs") <= 1
    assert all(0 <= r[share] <= 1 for r in searches for share in ("better_share", "broken_share"))
    assert "| random search |" in capsys.readouterr().out


def test_the_best_finalist_by_one_training_is_picked_and_told_by_the_others(call, data, monkeypatch):
    truth, ablation, supernets = (importlib.import_module(name) for name in ("truth", "ablation", "supernets"))
    known = truth.nas_bench_macro(data)
    worst, best = sorted(known.accuracy, key=known.accuracy.__getitem__)[:: len(known.accuracy) - 1]
    assert known.training(best, 4) == known.trainings[best][1]
    assert known.other_trainings(best, 4) == pytest.approx((known.trainings[best][0] + known.trainings[best][2]) / 2)
    judged = {worst: 0.9, best: 0.5}  # by a super-network that has it the wrong way round
    trials = [Trial(arch, {"likelihood": judged[arch], "macs": 1.0, "latency_ms": 1.0}) for arch in (best, worst)]
    monkeypatch.setattr(supernets, "search", lambda *of: trials)
    budget = known.macs_budget(1.0)
    asked = SimpleNamespace(paths=SimpleNamespace(net=SimpleNamespace(space=known.space)))
    found = [supernets.best_of(None, budget, asked, supernets.Way(), 2, count) for count in (1, 2)]
    assert found == [[worst], [worst, best]]
    assert supernets.best_of(None, budget, asked, supernets.Way(tie_share=10), 2) == [worst]
    budget = Budget(known.space, (Limit("latency_ms", known.predictor.latency_ms, np.inf),))
    (largest,) = supernets.best_of(None, budget, asked, supernets.Way(tie_share=10), 2)
    assert macs(known.space.ops(largest)) == max(macs(known.space.ops(arch)) for arch in (worst, best))
    picked = []
    host = SimpleNamespace(
        truth=known,
        budget=lambda *of: budget,
        predictor=SimpleNamespace(arch_ms=lambda arch: 1.0),
        budget_ms=1.0,
        broken_share=lambda *of: 0.0,
    )
    for count in (1, 2):
        variant = ablation.Variant(strategy="random", evaluations=2, finalists=count)
        picked.append(tuple(ablation.searched(host, variant, 0, asked)["arch"]))
    assert picked == [worst, best]


def test_no_two_networks_drawn_are_the_same(call, data):
    truth, rank = (importlib.import_module(name) for name in ("truth", "rank"))
    known = truth.nas_bench_macro(data)
    archs = rank.drawn(known, 0)
    assert len(archs) == len({known.graphs[arch] for arch in archs}) == 3969  # as published
    assert archs[:5] == rank.drawn(known, 5)


def test_images_held_out_are_none_of_those_trained_on(call, data, tmp_path):
    call("rank", *TINY, "--samplers", "spos", "--minutes", 0)
    with np.load(tmp_path / "nas_bench_macro-images.npz") as found:
        label, held_out, is_test = found["label"], found["is_val"], found["is_test"]
    assert not (held_out & is_test).any()
    for part, count in ((held_out, 5), (is_test, 10), (~(held_out | is_test), 20)):
        assert np.bincount(label[part]).tolist() == [count] * 10
