"""Encoded images in one file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.datasets import DataConfig, open_source, prepare
from hwnas.errors import UserError

IMAGENETTE = Path(__file__).parents[3] / "shared" / "data" / "imagenette_96" / "imagenette_96_jpeg.npz"


def write_npz(path, count=40, **left_out):
    rng, encoded = np.random.default_rng(0), []
    for _ in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, "JPEG")
        encoded.append(np.frombuffer(buffer.getvalue(), np.uint8))
    arrays = {
        "jpeg": np.concatenate(encoded),
        "offset": np.cumsum([0, *map(len, encoded)]),
        "label": np.arange(count) % 2,
        "is_test": np.arange(count) >= 30,
        "classes": np.array(["a", "b"]),
    }
    np.savez(path, **{k: v for k, v in arrays.items() if k not in left_out})
    return str(path)


def test_the_official_test_part_is_kept(tmp_path):
    data = write_npz(tmp_path / "images.npz")
    splits = prepare(DataConfig(data=data, image_size=16), tmp_path / "cache", 8)
    assert len(splits.test.labels) == 10
    assert splits.classes == ("a", "b")
    source = open_source(DataConfig(data=data, image_size=16))
    expected = np.asarray(source.image(30), np.uint8).transpose(2, 0, 1)
    np.testing.assert_array_equal(splits.test.images[0], expected)


def test_missing_arrays_are_named(tmp_path):
    data = write_npz(tmp_path / "images.npz", offset=True, label=True)
    told = "holds jpeg, is_test, classes; needed are jpeg, offset, label, classes, and is_test and is_val are allowed"
    with pytest.raises(UserError, match=told):
        prepare(DataConfig(data=data, image_size=16), tmp_path / "cache", 8)


def test_arrays_of_something_else_are_told_once(tmp_path):
    for count, told in (
        (1, "holds arr_0; needed"),
        (10, "holds arr_0, .*, arr_7, 2 more; needed"),
        (0, "is empty; need"),
    ):
        np.savez(tmp_path / "images.npz", *(np.zeros(1) for _ in range(count)))
        with pytest.raises(UserError, match=told):
            prepare(DataConfig(data=str(tmp_path / "images.npz"), image_size=16), tmp_path / "cache", 8)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "images.npz").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        prepare(DataConfig(data=str(tmp_path / "images.npz"), image_size=16), tmp_path / "cache", 8)


def test_a_pickle_inside_is_refused(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, jpeg=np.array([{}], dtype=object), offset=0, label=0, classes=0)
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        prepare(DataConfig(data=str(path), image_size=16), tmp_path / "cache", 8)


def test_a_real_file_is_read():
    if not IMAGENETTE.exists():
        pytest.skip(f"{IMAGENETTE} is not there")
    source = open_source(DataConfig(data=str(IMAGENETTE), image_size=64))
    assert len(source.labels) == 13394
    assert len(source.classes) == 10
    assert source.image(0).size == (96, 96)
    assert source.image(13393).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("offset", np.arange(7.0), "offset has 1 dimensions of float64; it must have one, of integers"),
        ("offset", np.int64(3), "offset has 0 dimensions"),
        ("label", np.zeros((6, 1), int), "label has 2 dimensions"),
        ("label", np.array(list("ababab")), "label has 1 dimensions of <U1"),
        ("classes", np.array(["a", "a"]), "two classes of one name"),
        ("classes", np.arange(2), "classes has 1 dimensions of int64; it must have one, of strings"),
        ("is_test", np.array(["no"] * 6), "is_test has 1 dimensions of <U2; it must have one, of booleans"),
    ],
)
def test_an_array_of_the_wrong_kind_is_named(tmp_path, name, value, complaint):
    arrays = {
        "jpeg": np.zeros(60, np.uint8),
        "offset": np.arange(7) * 10,
        "label": np.arange(6) % 2,
        "classes": np.array(["a", "b"]),
    }
    np.savez(tmp_path / "images.npz", **(arrays | {name: value}))
    with pytest.raises(UserError, match=complaint):
        open_source(DataConfig(data=str(tmp_path / "images.npz"), image_size=16))
