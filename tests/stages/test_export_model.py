"""`hwnas export --model`: a user's own network through the same checks, and what a user can get wrong."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from brought_models import plain
from PIL import Image
from torchvision import models

from hwnas.datasets import DataConfig, ImageSet, prepare
from hwnas.devices import load_profile
from hwnas.export import Preprocessing, bring
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.onnx_runtime import OnnxRuntime
from hwnas.stages.export_model import settle_batch_norm
from hwnas.stages.shipping import Shipment
from hwnas.storage import read_json
from hwnas.train import Diverged

MODELS = Path(__file__).with_name("brought_models.py")
BROUGHT = ("--data", "digits", "--resolution", "32", "--images", "60", "--on", "fake")


def export(hwnas, out, model, *more, weights="none"):
    model = model if ":" in model else f"{MODELS}:{model}"
    return hwnas("export", "--out", out, *BROUGHT, "--model", model, "--weights", weights, *more)


@pytest.fixture(scope="module")
def exported(hwnas, tmp_path_factory):
    """A network with the weights of a file, in two precisions."""
    folder = tmp_path_factory.mktemp("brought")
    torch.manual_seed(0)
    network = plain()
    torch.save({"state_dict": network.state_dict()}, folder / "mine.pt")
    options = ("--precisions", "int8", "--max-drop", "100", "--licence", "CC0-1.0")
    done = export(hwnas, folder / "out", "plain", *options, weights=folder / "mine.pt")
    assert done.returncode == 0, done.stderr
    return folder / "out", network.eval()


def test_files_of_a_brought_model_compute_what_it_computes(exported):
    out, network = exported
    record, golden = read_json(out / "export.json"), read_json(out / "export" / "golden.json")
    assert set(record["files"]) == {"litert", "ort", "litert_int8", "ort_int8"}
    with Image.open(out / "export" / "golden.png") as image:
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
    with torch.no_grad():
        expected = network(torch.from_numpy((pixels / 255 - 0.5)[None] / 0.5))[0].numpy()
    for name in ("model.tflite", "model.onnx"):
        np.testing.assert_allclose(golden["files"][name]["logits"], expected, rtol=1e-4, atol=1e-4)
    assert record["files"]["litert"]["max_relative_error"] < 1e-4
    assert all(record["files"][f"{runtime}_int8"]["max_relative_error"] < 0.1 for runtime in ("litert", "ort"))


def test_pictures_are_decoded_all_only_to_be_trained_on(hwnas, exported, tmp_path, monkeypatch):
    assert not (exported[0] / "images").exists()
    trained_on = []

    def stop(module, images, *others):
        trained_on.append(images)
        raise Diverged("it was asked to")

    monkeypatch.setattr("hwnas.stages.shipping.lost_too_much", lambda files: [k for k in files if "int8" in k])
    monkeypatch.setattr("hwnas.stages.shipping.fine_tuned", stop)
    torch.save(plain().state_dict(), tmp_path / "mine.pt")
    options = ("--precisions", "int8", "--formats", "onnx", "--max-drop", "100")
    done = export(hwnas, tmp_path / "out", "plain", *options, weights=tmp_path / "mine.pt")
    assert "fine-tuning for int8 did not work: it was asked to" in done.stderr
    (images,) = trained_on
    expected = prepare(DataConfig("digits", 32), tmp_path / "expected", 1).train
    assert isinstance(images.images, np.memmap)
    np.testing.assert_array_equal(images.images, expected.images)
    np.testing.assert_array_equal(images.labels, expected.labels)


def test_batch_norm_settles_while_nothing_else_trains():
    modes = []
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)).eval()
    network.register_forward_hook(lambda module, *_: modes.append([part.training for part in module]))
    images = ImageSet(np.random.default_rng(0).integers(0, 256, (48, 3, 8, 8), dtype=np.uint8), np.zeros(48, int))
    settle_batch_norm(
        Shipment(
            module=network,
            model="noise",
            data="noise",
            is_unseen=True,
            classes=("one",),
            preprocessing=Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            train=images,
            test=images,
            seed=0,
            profile=load_profile("fake"),
        )
    )
    with torch.no_grad():
        means = network[0](torch.from_numpy(images.images / 127.5 - 1).float()).mean((0, 2, 3))
    torch.testing.assert_close(network[1].running_mean, means)
    assert modes == [[False, True, False]]
    assert not any(part.training for part in network)


def test_torchvisions_networks_come_with_their_own_normalisation():
    brought = bring("torchvision:squeezenet1_1", "none", num_classes=7, seed=0)
    assert (brought.mean, brought.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert brought.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert not brought.module.training


def test_timms_networks_come_with_their_own_normalisation():
    pytest.importorskip("timm", reason="timm is not installed")
    brought = bring("timm:mobilenetv3_small_050", "none", num_classes=7, seed=0)
    assert (brought.mean, brought.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert brought.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_the_card_and_the_log_stand_beside(exported):
    out, _ = exported
    card = (out / "export" / "MODEL_CARD.md").read_text()
    assert "CC0-1.0" in card
    assert "nobody told whether the model was trained on them" in card
    assert all(f"`{path.name}`" in card for path in (out / "export").glob("model.*"))
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert json.loads(RUNTIMES["ort"].read_metadata(out / "export" / "model.onnx")["labels"]) == list("0123456789")


@pytest.mark.parametrize(
    ("model", "weights", "more", "message"),
    [
        (
            "torchvision:mobilenet_v9",
            "none",
            (),
            "unknown torchvision classifier .*; did you mean mobilenet_v",
        ),
        ("torchvision:mobilenet_v2", "absent.pt", (), "--weights absent.pt is not there"),
        ("mobilenet_v2.onnx:", "none", (), "allowed are torchvision:NAME, timm:NAME and FILE.py:FUNCTION"),
        ("absent.py:make", "none", (), "names the file absent.py, which is not there"),
        ("nothing", "none", (), "returned NoneType; a torch.nn.Module is needed"),
        ("strange", "none", (), "has no function 'strange'"),
        (
            "raises",
            "none",
            (),
            r"raises\(\) of .*py fails: RuntimeError: over two lines \(line \d+\); it is",
        ),
        (
            "plain",
            "none",
            ("--precisions", "int8,dynamic", "--formats", "onnx"),
            "--precisions has dynamic, in which --formats onnx has no files; leave it out, or add tflite to --formats",
        ),
        ("plain", "none", ("--precisions", "int4"), "--precisions has 'int4'; allowed are fp32, fp16, int8"),
        ("plain", "none", ("--max-drop", "-1"), "--max-drop is -1.0; allowed are 0 to 100"),
        ("plain", "none", ("--images", "0"), "--images is 0"),
        ("plain", "none", ("--qat-epochs", "-1"), "--qat-epochs is -1; allowed is 0"),
        ("plain", "none", ("--budget-ms", "3"), "--budget-ms has no meaning with --model"),
        ("plain", "none", ("--labels", "absent.txt"), "--labels absent.txt is not there"),
        ("branch", "none", (), r"dynamic control flow.*brought_models.py, line \d+: return x if x.sum\(\) > 0 else -x"),
        ("bessel", "none", (), r"does not know the operator \S*bessel_j0\S*, which layer 2 \(Bessel\) uses"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_half_written(hwnas, tmp_path, model, weights, more, message):
    done = export(hwnas, tmp_path / "out", model, *more, weights=weights)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("hwnas: ")
    assert re.search(message, last), last
    assert "Traceback" not in done.stderr
    left = {path.name for path in (tmp_path / "out").rglob("*")}
    assert left <= {".lock", "export.log"}  # and what the converters said


def test_weights_of_another_architecture_are_named(hwnas, tmp_path):
    torch.save(models.get_model("mobilenet_v2", num_classes=7).state_dict(), tmp_path / "other.pt")
    done = export(hwnas, tmp_path / "out", "torchvision:mobilenet_v2", weights=tmp_path / "other.pt")
    assert "classifier.1.weight is (7, 1280), not (10, 1280)" in done.stderr
    (tmp_path / "rubbish.pt").write_bytes(b"no weights")
    done = export(hwnas, tmp_path / "out", "torchvision:mobilenet_v2", weights=tmp_path / "rubbish.pt")
    assert "cannot be read" in done.stderr.splitlines()[-1]


def test_images_are_needed(hwnas, tmp_path):
    done = hwnas("export", "--out", tmp_path, "--model", f"{MODELS}:plain", "--weights", "none")
    assert "--data is missing: files are checked on your images, and those of int8" in done.stderr
    done = hwnas("export", "--out", tmp_path, "--model", f"{MODELS}:plain", "--data", "digits")
    assert "--weights is missing" in done.stderr


def test_the_export_of_a_run_is_not_overwritten(hwnas, tmp_path):
    """Where --out is not given, it is that of all stages, which a run may hold."""
    (tmp_path / "config.json").write_text("{}")
    done = export(hwnas, tmp_path, "plain")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(f"hwnas: {tmp_path} holds a run, whose own export would be overwri")
    assert "choose another --out" in done.stderr
    assert not (tmp_path / "images").exists()
    assert not (tmp_path / "export").exists()


def test_a_folder_that_cannot_be_written_is_one_line(hwnas, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = export(hwnas, tmp_path / "file" / "out", "plain")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "a file is where a folder must be: choose another path" in done.stderr
    done = export(hwnas, tmp_path / "file", "plain")
    assert done.returncode != 0
    assert "a file is where a folder must be" in done.stderr.splitlines()[-1]


def test_a_python_file_that_is_none_is_one_line(hwnas, tmp_path):
    (tmp_path / "mine.py").write_text("import torch\n\ndef make(:\n")
    done = export(hwnas, tmp_path / "out", f"{tmp_path / 'mine.py'}:make")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "mine.py cannot be run: SyntaxError: invalid syntax" in done.stderr
    assert "line 3" in done.stderr


def test_outputs_and_classes_must_agree(hwnas, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(["background", *"0123456789"]))
    done = export(hwnas, tmp_path / "out", "plain", "--labels", labels)
    assert "gives (1, 10) for one image; logits (1, 11) are needed" in done.stderr
    labels.write_text("\n".join("123456789x"))
    done = export(hwnas, tmp_path / "out", "plain", "--labels", labels)
    assert "--labels has no class '0', which the data has" in done.stderr


def test_what_failed_is_kept_under_another_name(hwnas, tmp_path, monkeypatch):
    load = OnnxRuntime.load
    monkeypatch.setattr(OnnxRuntime, "load", lambda self, path, threads: Stuck(load(self, path, threads), path))
    done = export(hwnas, tmp_path / "out", "plain", "--precisions", "fp16")
    found = read_json(tmp_path / "out" / "export.json")["files"]["ort_fp16"]
    assert done.returncode != 0
    assert "the ort file of fp16 computes the same values for every image" in done.stderr.splitlines()[-1]
    names = {path.name for path in (tmp_path / "out" / "export").glob("model*")}
    assert names == {"model.tflite", "model.onnx", "model.fp16.tflite", "model.fp16.failed.onnx"}
    assert found["path"] == "model.fp16.failed.onnx"
    assert "FAILED" in (tmp_path / "out" / "export" / "MODEL_CARD.md").read_text()
    to_ios = ("--target", "ios", "--precision", "fp16", "--to", tmp_path / "kit")
    assert "is not put into a kit" in hwnas("bundle", "--out", tmp_path / "out", *to_ios).stderr


class Stuck:
    """A runtime that finds the same for every image, in fp16 files."""

    def __init__(self, model, path):
        self.model, self.is_stuck = model, ".fp16." in path.name

    def run(self, x):
        return np.eye(10, dtype=np.float32)[[3]] if self.is_stuck else self.model.run(x)


def test_a_kit_is_filled_from_the_command_line(hwnas, exported, tmp_path):
    out, _ = exported
    done = hwnas("bundle", "--out", out, "--target", "web", "--precision", "int8", "--to", tmp_path / "kit")
    assert done.returncode == 0, done.stderr
    assert "it still needs ort.wasm.min.mjs" in done.stderr
    assert (tmp_path / "kit" / "model.onnx").read_bytes() == (out / "export" / "model.int8.onnx").read_bytes()
    done = hwnas("bundle", "--out", tmp_path, "--target", "web", "--to", tmp_path / "other")
    assert "run `hwnas export" in done.stderr
    shutil.rmtree(tmp_path / "kit")
