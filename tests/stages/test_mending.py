"""int8 files that lose too much are made of weights fine-tuned for int8; others are left alone."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.datasets import DataConfig, ImageSet, prepare
from hwnas.devices import load_profile
from hwnas.export import Preprocessing, convert, logits_of, model_path, reduce, reference
from hwnas.nn import Compute
from hwnas.runtimes import RUNTIMES
from hwnas.stages.export import shipped
from hwnas.stages.mending import FOLDER, fine_tuned, remade
from hwnas.stages.shipping import (
    DEFAULT_QAT_EPOCHS,
    Choices,
    Shipment,
    _calibration,
    _mended,
    failures,
)
from hwnas.train import Recipe, Training
from hwnas.train.fake_int8 import FakeInt8

SIDE = 16
RECIPE = Recipe(epochs=8, flip=False, lr=0.2)
MOST_POINTS = 2.5
LARGER = 100  # times the other channels


def separable(channels, out, stride):
    depthwise = (nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels))
    return (*depthwise, nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def network():
    stem = (nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    body = (*separable(16, 24, 1), *separable(24, 32, 2), *separable(32, 48, 2))
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))


def badly_scaled(module):
    """The same function, but one channel of the first pointwise convolution is far larger than its neighbours."""
    module = copy.deepcopy(module)
    norm, depthwise = module[7], module[9]
    with torch.no_grad():
        norm.weight[0] *= LARGER
        norm.bias[0] *= LARGER
        depthwise.weight[0] /= LARGER
    return module


@pytest.fixture(scope="module")
def shipment(tmp_path_factory):
    """A network that int8 harms, trained on digits."""
    folder = tmp_path_factory.mktemp("mending")
    splits = prepare(DataConfig("digits", SIDE), folder / "images", 1)
    torch.manual_seed(0)
    module = network()
    files = (folder / "t.pt", folder / "t.jsonl")
    Training(module, splits.train, SIDE, RECIPE, Compute(), 0, *files).run()
    return Shipment(
        module=badly_scaled(module).eval(),
        model="digits",
        data="digits",
        is_unseen=True,
        classes=splits.classes,
        preprocessing=Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3),
        train=splits.train,
        test=splits.test,
        seed=0,
        profile=load_profile("fake"),
        recipe=RECIPE,
    )


@pytest.fixture(scope="module")
def images(shipment):
    """What is checked, and what is calibrated with."""
    checked = shipment.preprocessing.normalised(shipment.test, np.arange(200))
    return reference(shipment.module, checked, shipment.test.labels[:200]), _calibration(shipment)


@pytest.fixture(scope="module")
def harmed(shipment, images, tmp_path_factory):
    """(the folder of its files, what is told of them)."""
    folder, (ref, calibration), found = tmp_path_factory.mktemp("harmed"), images, {}
    for runtime in ("litert", "ort"):
        found[runtime] = convert(shipment.module, runtime, folder, {}, ref)
        found[f"{runtime}_int8"] = reduce(runtime, "int8", folder, {}, calibration, ref, MOST_POINTS)
    return folder, found


def tune(shipment, calibration, folder, epochs=DEFAULT_QAT_EPOCHS, seen=None):
    arguments = (shipment.module, shipment.train, shipment.preprocessing, calibration, shipment.recipe, epochs, 0)
    return fine_tuned(*arguments, folder, (seen if seen is not None else []).append)


@pytest.fixture(scope="module")
def tuned(shipment, images, tmp_path_factory):
    """(the folder of its checkpoint, the fine-tuned module, what is told of it)."""
    folder = tmp_path_factory.mktemp("tuned")
    return folder, *tune(shipment, images[1], folder)


@pytest.mark.parametrize("runtime", ["ort", pytest.param("litert", marks=pytest.mark.slow)])
def test_files_that_lost_too_much_come_within_the_tolerance(images, harmed, tuned, tmp_path, runtime):
    (folder, files), (_, module, told), (ref, calibration) = harmed, tuned, images
    shutil.copytree(folder, tmp_path / "export")
    own = {key: file for key, file in files.items() if file.runtime == runtime}
    found = remade(own, tmp_path / "export", module, told, calibration, ref, {"a": "b"}, MOST_POINTS)
    before, after = own[f"{runtime}_int8"], found[f"{runtime}_int8"]
    assert before.failed
    assert not after.failed
    assert after.drop_points <= MOST_POINTS < before.drop_points
    assert after.fine_tuned["test_accuracy_before"] == before.test_accuracy
    assert after.fine_tuned["drop_points_before"] == before.drop_points
    assert after.fine_tuned["epochs"] == DEFAULT_QAT_EPOCHS
    assert RUNTIMES[runtime].read_metadata(tmp_path / "export" / after.path) == {"a": "b"}
    exact = model_path(folder, runtime)  # of the original weights
    assert (tmp_path / "export" / exact.name).read_bytes() == exact.read_bytes()
    assert found[runtime] is files[runtime]
    names = {path.name for path in (tmp_path / "export").iterdir() if path.suffix == exact.suffix}
    assert names == {exact.name, after.path} == {exact.name, model_path(folder, runtime, "int8").name}


@pytest.mark.parametrize("runtime", ["litert", "ort"])
def test_the_fake_computes_what_the_files_compute(shipment, images, harmed, runtime):
    """Of the network that int8 harms: the same top-1 on every image, logits within one of the output's 256 steps."""
    (folder, files), (ref, calibration) = harmed, images
    found = logits_of(folder / files[f"{runtime}_int8"].path, runtime, ref.images)
    fake = FakeInt8(copy.deepcopy(shipment.module), torch.zeros(32, 3, SIDE, SIDE))
    fake.watch(torch.from_numpy(calibration))
    expected = fake.logits(torch.from_numpy(ref.images)).numpy()
    step = float(fake.graph.steps_of_linear.high - fake.graph.steps_of_linear.low) / 255
    assert np.abs(found - expected).max() <= 1.01 * step
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert np.abs(found - ref.logits).max() > 10 * step  # and int8 is no small change here


def test_a_fine_tuning_that_is_there_is_taken_and_another_ones_is_not(shipment, images, tuned, tmp_path):
    folder, module, told = tuned
    assert [path.suffix for path in sorted(folder.iterdir())] == [".jsonl", ".pt"]
    shutil.copytree(folder, tmp_path / "again")
    seen = []
    again, same = tune(shipment, images[1], tmp_path / "again", seen=seen)
    assert (same, seen) == (told, [0])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in module.state_dict().items())
    _, other = tune(shipment, images[1], tmp_path / "again", epochs=1, seen=seen)
    assert seen == [0, 0, 1]
    assert other["checkpoint"] != told["checkpoint"]


def test_an_export_mends_its_files_and_tells_so(shipment, tuned, tmp_path, capsys):
    shutil.copytree(tuned[0], tmp_path / FOLDER)  # as if it had been interrupted after the fine-tuning
    short = replace(shipment, test=ImageSet(shipment.test.images[:200], shipment.test.labels[:200]))
    record = shipped(tmp_path, short, Choices((("ort", "fp32"), ("ort", "int8")), MOST_POINTS))
    file = record["files"]["ort_int8"]
    assert failures(record) == ""
    assert file["fine_tuned"]["checkpoint"] == tuned[2]["checkpoint"]
    assert record["files"]["ort"]["fine_tuned"] == {}
    before, after = (f"{100 * x:.1f} %" for x in (file["fine_tuned"]["test_accuracy_before"], file["test_accuracy"]))
    card = (tmp_path / "export" / "MODEL_CARD.md").read_text()
    assert "`model.int8.onnx` has weights of its own, fine-tuned for int8 on the training part (8 epochs" in card
    assert f"{before} before, {after} after." in card
    said = capsys.readouterr().err
    assert "points (allowed 2.5): its weights are fine-tuned (--qat-epochs 8, 0: not)" in said
    assert "before its weights were fine-tuned for int8 (8 epochs" in said
    assert "model.int8.onnx" in (tmp_path / "export" / "golden.json").read_text()


@pytest.mark.parametrize(("most", "epochs"), [(60.0, 8), (None, 8), (MOST_POINTS, 0)])
def test_nothing_runs_within_the_tolerance_or_where_it_is_turned_off(shipment, images, harmed, tmp_path, most, epochs):
    folder, (ref, calibration) = harmed[0], images
    shutil.copytree(folder, tmp_path / "export")
    again = reduce("ort", "int8", tmp_path / "export", {}, calibration, ref, most)
    files, choices = {"ort_int8": again}, Choices((), most, qat_epochs=epochs)
    found = _mended(shipment, choices, files, tmp_path / "export", tmp_path / FOLDER, {}, ref, lambda *told: None)
    assert found is files
    assert bool(again.failed) == (epochs == 0)
    assert not (tmp_path / FOLDER).exists()


def test_one_that_does_not_help_leaves_the_file_as_it_was(images, harmed, tuned, tmp_path, monkeypatch):
    (folder, files), (_, module, told), (ref, calibration) = harmed, tuned, images
    shutil.copytree(folder, tmp_path / "export")
    before = files["ort_int8"]
    monkeypatch.setattr("hwnas.stages.mending.convert", lambda *arguments: files["ort"])
    monkeypatch.setattr("hwnas.stages.mending.reduce", lambda *arguments: replace(before, drop_points=99.0))
    own = {key: files[key] for key in ("ort", "ort_int8")}
    found = remade(own, tmp_path / "export", module, told, calibration, ref, {}, MOST_POINTS)["ort_int8"]
    assert (found.path, found.drop_points, found.fine_tuned) == (before.path, before.drop_points, {})
    assert found.failed == f"{before.failed}; fine-tuning for int8 (--qat-epochs 8) does not help"
    assert (tmp_path / "export" / found.path).read_bytes() == (folder / found.path).read_bytes()
