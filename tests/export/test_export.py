"""Nothing is exported that does not compute what was trained."""

import json

import numpy as np
import pytest
import torch

from hwnas.export import VerificationError, export, export_reduced, model_path, preprocessing, write_beside
from hwnas.nn import Network
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.onnx_runtime import LoadedOnnx
from hwnas.spaces import SpaceConfig, build_space, extremes


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    space = build_space(SpaceConfig("proxyless_small", 32, 4, width_mult=0.25))
    return Network(space, extremes(space)[0]).eval()


IMAGES = np.random.default_rng(0).standard_normal((16, 3, 32, 32), dtype=np.float32)
LABELS = np.arange(16) % 4


def test_a_sound_export_is_described_and_carries_its_metadata(network, tmp_path):
    found = export(network, "ort", tmp_path, {"labels": '["a"]'}, IMAGES, LABELS)
    assert found.max_relative_error < 1e-4
    assert (found.top1_agreement, found.images) == (1.0, 16)
    assert found.size_bytes == (tmp_path / "model.onnx").stat().st_size
    assert RUNTIMES["ort"].read_metadata(tmp_path / "model.onnx") == {"labels": '["a"]'}


def test_a_file_that_computes_something_else_is_refused(network, tmp_path, monkeypatch):
    original = LoadedOnnx.run
    monkeypatch.setattr(LoadedOnnx, "run", lambda self, x: original(self, x) * 1.001)
    with pytest.raises(VerificationError, match=r"logits by 0\.001 relative"):
        export(network, "ort", tmp_path, {}, IMAGES, LABELS)


def test_labels_and_preprocessing_stand_beside_the_model(tmp_path):
    described = preprocessing(64, 73, 0.5, 0.5)
    write_beside(tmp_path, ("cat", "dog"), json.dumps(described))
    assert (tmp_path / "labels.txt").read_text() == "cat\ndog\n"
    assert json.loads((tmp_path / "preprocessing.json").read_text())["center_crop_px"] == 64


@pytest.mark.parametrize(("dtype", "most_error", "most_size"), [("fp16", 0.02, 0.75), ("int8", 0.5, 0.7)])
@pytest.mark.parametrize("runtime", ["litert", "ort"])
def test_less_precision_is_smaller_and_nearly_the_same(network, tmp_path, runtime, dtype, most_error, most_size):
    export(network, runtime, tmp_path, {}, IMAGES, LABELS)
    found = export_reduced(runtime, dtype, tmp_path, {"labels": "[]"}, IMAGES[:8], IMAGES, LABELS)
    assert found.path == f"model.{dtype}{RUNTIMES[runtime].suffix}"
    assert 0 < found.max_relative_error < most_error  # of a network that was never trained
    assert found.top1_agreement > 0.8
    assert found.size_bytes < most_size * model_path(tmp_path, runtime).stat().st_size
    assert RUNTIMES[runtime].read_metadata(tmp_path / found.path) == {"labels": "[]"}
