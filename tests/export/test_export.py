"""Nothing is exported that does not compute what was trained."""

import json

import numpy as np
import pytest
import torch

from hwnas.export import Preprocessing, convert, failed_path, model_path, reduce, reference, write_beside
from hwnas.nn import Network
from hwnas.runtimes import RUNTIMES, precision
from hwnas.runtimes.litert import LoadedLiteRT
from hwnas.runtimes.onnx_runtime import LoadedOnnx
from hwnas.spaces import SpaceConfig, build_space, extremes

IMAGES = np.random.default_rng(0).standard_normal((16, 3, 32, 32), dtype=np.float32)
LABELS = np.arange(16) % 4
FORMS = [(runtime, dtype) for runtime in ("litert", "ort") for dtype in RUNTIMES[runtime].reductions]
MOST_ERROR = {"fp16": 0.02, "int8": 0.5, "int8_float_io": 0.5, "dynamic": 0.5}  # of a network that was never trained


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    space = build_space(SpaceConfig("proxyless_small", 32, 4, width_mult=0.25))
    return Network(space, extremes(space)[0]).eval()


@pytest.fixture(scope="module")
def ref(network):
    return reference(network, IMAGES, LABELS)


@pytest.fixture(scope="module")
def exact(network, ref, tmp_path_factory):
    """A folder with the fp32 file of each runtime."""
    folder = tmp_path_factory.mktemp("exact")
    found = {runtime: convert(network, runtime, folder, {"labels": '["a"]'}, ref) for runtime in ("litert", "ort")}
    return folder, found


@pytest.mark.parametrize("runtime", ["litert", "ort"])
def test_a_sound_export_is_described_and_carries_its_metadata(exact, runtime):
    folder, found = exact
    path, file = model_path(folder, runtime), found[runtime]
    assert file.max_relative_error < 1e-4
    assert (file.failed, file.top1_agreement, file.images, file.drop_points) == ("", 1.0, 16, 0.0)
    assert file.test_accuracy_interval[0] < file.test_accuracy < file.test_accuracy_interval[1]
    assert file.size_bytes == path.stat().st_size
    assert sum(count for name, count in file.operators.items() if name.upper() == "TRANSPOSE") == 0
    assert RUNTIMES[runtime].read_metadata(path) == {"labels": '["a"]'}


def test_a_file_that_computes_something_else_is_named_as_failed(network, ref, tmp_path, monkeypatch):
    original = LoadedOnnx.run
    monkeypatch.setattr(LoadedOnnx, "run", lambda self, x: original(self, x) * 1.001)
    found = convert(network, "ort", tmp_path, {}, ref)
    assert "logits by 0.001 relative" in found.failed
    assert [path.name for path in tmp_path.iterdir()] == ["model.failed.onnx"] == [found.path]


def test_labels_and_preprocessing_stand_beside_the_model(tmp_path):
    described = Preprocessing(64, 73, (0.5,) * 3, (0.5,) * 3).as_record()
    write_beside(tmp_path, ("cat", "dog"), json.dumps(described))
    assert (tmp_path / "labels.txt").read_text() == "cat\ndog\n"
    assert json.loads((tmp_path / "preprocessing.json").read_text())["center_crop_px"] == 64


@pytest.mark.parametrize(("runtime", "precision"), FORMS)
def test_less_precision_is_smaller_and_nearly_the_same(exact, ref, runtime, precision):
    folder, found = exact
    file = reduce(runtime, precision, folder, {"labels": "[]"}, IMAGES[:8], ref, max_drop_points=None)
    assert (file.path, file.failed) == (f"model.{precision}{RUNTIMES[runtime].suffix}", "")
    assert 0 < file.max_relative_error < MOST_ERROR[precision]
    assert file.top1_agreement > 0.8
    assert file.size_bytes < 0.75 * found[runtime].size_bytes
    assert RUNTIMES[runtime].read_metadata(folder / file.path) == {"labels": "[]"}


@pytest.mark.parametrize(
    ("precision", "kind"), [("int8", np.int8), ("int8_float_io", np.float32), ("dynamic", np.float32)]
)
def test_input_and_output_are_of_the_type_that_was_chosen(exact, ref, precision, kind):
    folder, _ = exact
    reduce("litert", precision, folder, {}, IMAGES[:8], ref, max_drop_points=None)
    model = LoadedLiteRT(model_path(folder, "litert", precision), threads=1)
    assert (model.input["dtype"], model.output["dtype"]) == (kind, kind)


def test_what_shares_a_calibration_is_bit_for_bit_what_was_calibrated_for_it(exact, ref, monkeypatch):
    folder, _ = exact
    watched, observed = [], precision._observed
    monkeypatch.setattr(precision, "_observed", lambda *given: watched.append(1) or observed(*given))

    def content(name, images, alone=True):
        if alone:
            precision._last_ranges.clear()
        reduce("litert", name, folder, {}, images, ref, max_drop_points=None)
        return model_path(folder, "litert", name).read_bytes()

    alone = [content(name, IMAGES[:8]) for name in ("int8", "int8_float_io")]
    assert len(watched) == 2
    assert [content(name, IMAGES[:8], alone=False) for name in ("int8", "int8_float_io")] == alone
    assert len(watched) == 2
    assert content("int8", IMAGES[8:], alone=False) != alone[0]  # other images are calibrated on anew
    assert len(watched) == 3


def test_a_file_that_loses_too_much_accuracy_is_named_as_failed(exact, network, monkeypatch):
    folder, _ = exact
    right = reference(network, IMAGES, reference(network, IMAGES, LABELS).logits.argmax(1))  # torch is always right
    original = LoadedOnnx.run
    monkeypatch.setattr(LoadedOnnx, "run", lambda self, x: -original(self, x))
    found = reduce("ort", "fp16", folder, {}, IMAGES[:1], right, max_drop_points=50)
    assert found.drop_points > 50
    assert "points less accurate than the trained network on 16 images (allowed 50, --max-drop)" in found.failed
    path = failed_path(model_path(folder, "ort", "fp16"))
    assert (path.name, path.exists()) == (found.path, True)
    assert not model_path(folder, "ort", "fp16").exists()


def test_preprocessing_is_cut_and_normalisation():
    from hwnas.datasets import ImageSet

    stored = np.random.default_rng(0).integers(0, 255, (2, 3, 36, 36), dtype=np.uint8)
    preprocessing = Preprocessing(32, 36, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    found = preprocessing.normalised(ImageSet(stored, np.zeros(2, np.int64)), np.array([1]))
    blue = (stored[1, 2, 2:34, 2:34] / 255 - 0.3) / 0.7
    np.testing.assert_allclose(found[0, 2], blue, atol=1e-6)
    assert found.shape == (1, 3, 32, 32)
