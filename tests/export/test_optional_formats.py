"""ExecuTorch, run and compared here, and Core ML, whose description is compared; both only where they are installed."""

import importlib.metadata
from functools import partial

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.export import model_card
from hwnas.runtimes import CONVERTERS
from hwnas.runtimes.coreml import CoreML
from hwnas.runtimes.executorch import ExecuTorch
from hwnas.stages.export import shipped
from hwnas.stages.shipping import FORMATS, Choices, forms
from hwnas.storage import read_json


@pytest.fixture
def installed(monkeypatch):
    """As if every library were there."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")


@pytest.fixture
def exported(noise_shipment, tmp_path):
    """Exports in some formats: (what `export.json` says, the folder)."""
    choices = partial(Choices, max_drop_points=None)
    return lambda formats: (shipped(tmp_path, noise_shipment, choices(forms("fp32", formats))), tmp_path / "export")


@pytest.mark.usefixtures("installed")
def test_formats_choose_who_makes_the_files():
    assert forms("fp32,int8") == (("litert", "fp32"), ("ort", "fp32"), ("litert", "int8"), ("ort", "int8"))
    found = forms("fp32,int8", "coreml, tflite, executorch")
    assert found == (("litert", "fp32"), ("executorch", "fp32"), ("coreml", "fp32"), ("litert", "int8"))


def test_a_format_that_there_is_not_is_named():
    with pytest.raises(UserError, match="--formats has 'ncnn'; allowed are tflite, onnx, executorch, coreml"):
        forms("fp32", "onnx,ncnn")


@pytest.mark.parametrize("name", ["executorch", "coreml"])
def test_an_absent_library_is_one_line_that_says_what_to_install(name, monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UserError, match=rf"not installed; in the checkout, `pip install \"\.\[{name}\]\"`$"):
        forms("fp32", name)


@pytest.mark.slow
def test_executorchs_file_computes_what_the_network_computes(exported):
    pytest.importorskip("executorch", reason="executorch is not installed")
    record, folder = exported("executorch")
    file = record["files"]["executorch"]
    assert (file["path"], file["failed"], file["top1_agreement"]) == ("model.pte", "", 1.0)
    assert file["max_relative_error"] < 1e-4
    assert file["operators"]["XnnpackBackend"] >= 1
    logits = read_json(folder / "golden.json")["files"]["model.pte"]["logits"]
    model = ExecuTorch().load(folder / "model.pte", threads=1)
    first, second = (model.run(np.full((1, 3, 32, 32), value, np.float32)) for value in (0.0, 1.0))
    assert first.shape == (1, len(logits))
    assert not np.array_equal(first, second)  # what came first is not overwritten


def test_a_file_that_is_no_program_does_not_load(tmp_path):
    pytest.importorskip("executorch", reason="executorch is not installed")
    (tmp_path / "bad.pte").write_bytes(b"no program")
    with pytest.raises(RuntimeError):
        ExecuTorch().load(tmp_path / "bad.pte", threads=1)


def test_core_mls_file_is_described_and_not_run(exported):
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    record, folder = exported("coreml")
    file = record["files"]["coreml"]
    assert (file["path"], file["failed"]) == ("model.mlpackage", "")
    assert "only macOS and iOS run Core ML" in file["not_run_here"]
    assert "test_accuracy" not in file
    assert file["operators"]["conv"] > 1
    assert file["size_bytes"] > 100_000
    converter = CoreML()
    assert set(converter.read_metadata(folder / file["path"])) == {"labels", "preprocessing", "hwnas_version"}
    assert converter.complaint(folder / file["path"], (3, 32, 32), len(record["classes"])) == ""
    assert "its input is" in converter.complaint(folder / file["path"], (3, 32, 31), len(record["classes"]))
    assert "its output is" in converter.complaint(folder / file["path"], (3, 32, 32), len(record["classes"]) + 1)
    assert "`model.mlpackage`: only macOS" in model_card(record, "")


def test_a_file_that_describes_itself_wrongly_is_named_as_failed(exported, monkeypatch):
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    monkeypatch.setattr(CoreML, "write_metadata", lambda self, path, metadata: None)
    record, folder = exported("coreml")
    assert "it has lost labels or preprocessing" in record["files"]["coreml"]["failed"]
    assert (folder / "model.failed.mlpackage").is_dir()
    assert not (folder / "model.mlpackage").exists()


def test_every_converter_is_a_format_or_fake():
    assert {*FORMATS.values(), "fake"} == set(CONVERTERS)
