"""The runner for Linux boards, as it is run there; and the kits' files."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.datasets.prepare import square
from hwnas.errors import UserError
from hwnas.export import fill_kit, load_target, target_names
from hwnas.storage import read_json, write_json

# A Python that has tflite-runtime 2.14, which needs numpy < 2 and so an environment of its own.
OLD_PYTHON = os.environ.get("HWNAS_TFLITE_RUNTIME_PYTHON", "")
PRECISIONS = ("fp32", "fp16", "int8", "int8_float_io")


def filled(exported_folder, to, target="linux", precision="fp32", files=None):
    record = read_json(exported_folder / "export.json")
    return fill_kit(load_target(target), precision, exported_folder / "export", record, to, files).folder


def run(kit, *arguments, python=sys.executable):
    command = [python, str(kit / "classify.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def best_of(kit):
    """The class of the golden picture."""
    logits = read_json(kit / "golden.json")["logits"]
    return (kit / "labels.txt").read_text().splitlines()[int(np.argmax(logits))]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_runner_names_the_golden_pictures_class(exported_folder, tmp_path, precision):
    kit = filled(exported_folder, tmp_path / "kit", precision=precision)
    done = run(kit, kit / "golden.png")
    assert done.returncode == 0, done.stderr
    assert f"golden.png: {best_of(kit)} " in done.stdout


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_runner_works_on_tflite_runtime(exported_folder, tmp_path, precision):
    if not OLD_PYTHON:
        pytest.skip("HWNAS_TFLITE_RUNTIME_PYTHON does not name a Python with tflite-runtime 2.14, pillow and pyyaml")
    kit = filled(exported_folder, tmp_path / "kit", precision=precision)
    done = run(kit, kit / "golden.png", python=OLD_PYTHON)
    assert done.returncode == 0, done.stderr
    assert f"golden.png: {best_of(kit)} " in done.stdout


def test_dynamic_range_files_are_refused_by_tflite_runtime(exported_folder):
    if not OLD_PYTHON:
        pytest.skip("HWNAS_TFLITE_RUNTIME_PYTHON does not name a Python with tflite-runtime 2.14, pillow and pyyaml")
    code = "import sys; from pathlib import Path; from hwnas.runtimes.litert import LiteRT; "
    code += "LiteRT().load(Path(sys.argv[1]), 1)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for name, refused in (("model.tflite", False), ("model.int8.tflite", False), ("model.dynamic.tflite", True)):
        command = [OLD_PYTHON, "-c", code, str(exported_folder / "export" / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert ("returns wrong values without a word" in done.stderr) == refused, done.stderr
        assert (done.returncode != 0) == refused


@pytest.mark.parametrize(
    "change", [{"std": [1.0, 1.0, 1.0]}, {"mean": [0.6, 0.5, 0.4]}, {"resize_shorter_side_px": 40}]
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_wrong_preprocessing_does_not_pass_the_golden_check(exported_folder, tmp_path, change, precision):
    kit = filled(exported_folder, tmp_path / "kit", precision=precision)
    write_json(kit / "preprocessing.json", read_json(kit / "preprocessing.json") | change)
    done = run(kit, kit / "golden.png")
    assert done.returncode != 0
    assert "the golden picture gives other values" in done.stderr


def test_the_runner_prepares_pictures_as_training_did(exported_folder, tmp_path):
    kit = filled(exported_folder, tmp_path / "kit")
    spec = importlib.util.spec_from_file_location("classify", kit / "classify.py")
    classify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(classify)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (97, 61, 3), dtype=np.uint8))
    how = read_json(kit / "preprocessing.json")
    found = classify.preprocessed(picture, how)
    size, side = how["resize_shorter_side_px"], how["center_crop_px"]
    margin = (size - side) // 2
    pixels = square(picture, size)[:, margin : margin + side, margin : margin + side].transpose(1, 2, 0)
    np.testing.assert_allclose(found, (pixels / 255 - np.array(how["mean"])) / np.array(how["std"]), atol=1e-5)


def test_a_picture_that_is_none_is_one_line(exported_folder, tmp_path):
    kit = filled(exported_folder, tmp_path / "kit")
    done = run(kit, kit / "labels.txt")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) <= 2  # the runtime prints a line of its own
    assert "cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--threads", "0"), "argument --threads: '0' is no whole number from 1 to 256"),
        (("--threads=-2",), "'-2' is no whole number"),
        (("--threads", "many"), "'many' is no whole number"),
        (("--threads", "100000"), "'100000' is no whole number from 1 to 256"),
        (("--top", "0"), "argument --top: '0' is no whole number from 1 on"),
    ],
)
def test_numbers_that_make_no_sense_are_one_line(arguments, told):
    done = run(load_target("linux").folder, "photo.jpg", *arguments)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert told in line


@pytest.mark.parametrize("name", ["labels.txt", "golden.json", "model.tflite"])
def test_a_kit_that_is_not_whole_is_one_line(exported_folder, tmp_path, name):
    kit = filled(exported_folder, tmp_path / "kit")
    (kit / name).unlink()
    done = run(kit, kit / "golden.png")
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert f"{kit} is no whole kit: " in line
    assert name in line


@pytest.mark.parametrize("target", target_names())
def test_a_filled_kit_is_whole_and_true_to_the_export(exported_folder, tmp_path, target):
    chosen = load_target(target)
    files = tmp_path / "files"
    files.mkdir()
    extra = chosen.optional.get("fp32", ())
    for name in {*chosen.needs, *extra}:
        (files / name).write_text("as given")
    kit = filled(exported_folder, tmp_path / "kit", target, files=files if chosen.needs else None)
    assets, exported = kit / chosen.assets, exported_folder / "export"
    golden = read_json(assets / "golden.json")
    suffix = {"litert": ".tflite", "ort": ".onnx"}[chosen.runtime]
    assert golden["model"] == f"model{suffix}"
    assert golden["precision"] == "fp32"
    assert (assets / golden["model"]).read_bytes() == (exported / f"model{suffix}").read_bytes()
    for name in ("labels.txt", "preprocessing.json", "golden.png", "MODEL_CARD.md"):
        assert (assets / name).read_bytes() == (exported / name).read_bytes()
    assert golden["logits"] == read_json(exported / "golden.json")["files"][f"model{suffix}"]["logits"]
    assert len(golden["logits"]) == len((assets / "labels.txt").read_text().splitlines())
    assert all((kit / name).read_text() == "as given" for name in {*chosen.needs, *extra})
    assert (kit / "README.md").exists()
    assert not (kit / "target.yaml").exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_pairings_known_to_be_wrong_are_refused_with_the_reason(exported_folder, tmp_path):
    with pytest.raises(UserError, match=r"dynamic is refused for linux: tflite-runtime 2\.14.*returns wrong values"):
        filled(exported_folder, tmp_path / "kit", precision="dynamic")
    with pytest.raises(UserError, match="ios cannot run dynamic files; allowed are fp32, fp16, int8"):
        filled(exported_folder, tmp_path / "kit", "ios", "dynamic")
    assert not (tmp_path / "kit").exists()


def test_a_kit_does_not_overwrite_and_does_not_take_what_failed(exported_folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something already"):
        filled(exported_folder, tmp_path / "full")
    record = read_json(exported_folder / "export.json")
    record["files"]["litert_int8"] |= {"failed": "it lost 3 points"}
    del record["files"]["litert_fp16"]
    (exported_folder / "export.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="is not put into a kit: it lost 3 points"):
        filled(exported_folder, tmp_path / "kit", precision="int8")
    with pytest.raises(UserError, match=r"has no fp16 file for linux .* --precisions fp16"):
        filled(exported_folder, tmp_path / "kit", precision="fp16")


def test_files_that_the_kit_needs_are_named(exported_folder, tmp_path):
    with pytest.raises(UserError, match=r"has no ort\.wasm\.min\.mjs.*npm install onnxruntime-web"):
        filled(exported_folder, tmp_path / "kit", "web", files=tmp_path)
    shutil.rmtree(tmp_path / "kit", ignore_errors=True)


def test_files_that_the_kit_can_do_without_are_copied_where_they_serve_the_precision(exported_folder, tmp_path):
    web = load_target("web")
    for name in web.needs:
        (tmp_path / name).write_text("as given")
    extra = set(web.optional["fp32"])
    assert not extra & {
        path.name for path in filled(exported_folder, tmp_path / "without", "web", files=tmp_path).iterdir()
    }
    for name in extra:
        (tmp_path / name).write_text("as given")
    for precision, copied in (("fp16", extra), ("int8", set())):
        kit = filled(exported_folder, tmp_path / precision, "web", precision, files=tmp_path)
        assert extra & {path.name for path in kit.iterdir()} == copied


def test_a_target_with_a_mistake_is_one_line(tmp_path):
    (tmp_path / "target.yaml").write_text("description: mine\nruntime: litert\nprecisions: [int4]\ncolour: red\n")
    with pytest.raises(UserError, match=r"precisions\.0: .*; executor: Field required; .*colour: Extra inputs"):
        load_target(str(tmp_path))
    with pytest.raises(UserError, match="unknown target 'andoid'; did you mean android"):
        load_target("andoid")
