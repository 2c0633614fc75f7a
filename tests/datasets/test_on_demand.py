"""What is decoded on demand is what full decoding gives, and no more of it is decoded."""

import io

import numpy as np
import pytest
from PIL import Image

from hwnas.datasets import PARTS, DataConfig, on_demand, prepare
from hwnas.datasets.folder import Folder
from hwnas.errors import UserError

SIZE = 24
CLASSES = ("cat", "dog")


def encoded(rng):
    """A JPEG of any shape."""
    height, width = rng.integers(20, 50, 2)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_folder(root, subfolders=("",), copies=3):
    """A folder with copies of pictures within classes and parts, and across both."""
    rng = np.random.default_rng(0)
    twice = [encoded(rng) for _ in range(copies)]
    for part in subfolders:
        for name in CLASSES:
            folder = root / part / name
            folder.mkdir(parents=True)
            for number, content in enumerate([*(encoded(rng) for _ in range(20)), *twice]):
                (folder / f"{number:02}.jpg").write_bytes(content)
    return str(root)


def write_npz(path):
    rng, files = np.random.default_rng(1), []
    files = [encoded(rng) for _ in range(50)]
    files[40] = files[3]
    arrays = {"offset": np.cumsum([0, *map(len, files)]), "label": np.arange(50) % 2, "classes": np.array(CLASSES)}
    np.savez(path, jpeg=np.frombuffer(b"".join(files), np.uint8), is_test=np.arange(50) >= 35, **arrays)
    return str(path)


DATA = {
    "folder": lambda tmp_path: write_folder(tmp_path / "images"),
    "folder with parts": lambda tmp_path: write_folder(tmp_path / "images", ("train", "val", "test"), copies=2),
    "npz": lambda tmp_path: write_npz(tmp_path / "images.npz"),
    "digits": lambda tmp_path: "digits",
}


@pytest.fixture(params=DATA)
def config(request, tmp_path):
    return DataConfig(DATA[request.param](tmp_path), SIZE, seed=3)


def test_parts_pictures_and_labels_are_those_of_full_decoding(config, tmp_path):
    found = on_demand(config, tmp_path / "cache", 8)
    assert not (tmp_path / "cache").exists()
    expected = prepare(config, tmp_path / "cache", 8)
    assert (found.classes, found.flip) == (expected.classes, expected.flip)
    for part in PARTS:
        own, full = getattr(found, part), getattr(expected, part)
        np.testing.assert_array_equal(own.labels, full.labels)
        assert own.images.shape == full.images.shape
        np.testing.assert_array_equal(own.images[:], full.images)


def test_it_is_indexed_as_an_array_is(config, tmp_path):
    own, full = on_demand(config, tmp_path / "a", 8).train.images, prepare(config, tmp_path / "b", 8).train.images
    for key in (3, np.intp(4), -1, slice(2, 5), np.array([5, 1]), (2, 1), (slice(0, 2), slice(None), slice(3, 9), 4)):
        np.testing.assert_array_equal(own[key], full[key])
        assert own[key].dtype == np.uint8


def test_only_what_is_asked_for_is_decoded(tmp_path, monkeypatch):
    decoded, image = [], Folder.image
    monkeypatch.setattr(Folder, "image", lambda self, index: decoded.append(index) or image(self, index))
    splits = on_demand(DataConfig(write_folder(tmp_path / "images"), SIZE), tmp_path / "cache", 8)
    assert decoded == []
    assert splits.test.images[2:4].shape == (2, 3, SIZE, SIZE)
    assert decoded == splits.test.images.indices[2:4].tolist()


def test_what_is_decoded_already_is_taken(tmp_path):
    config = DataConfig(write_folder(tmp_path / "images"), SIZE)
    expected = prepare(config, tmp_path / "cache", 8)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    found = on_demand(config, tmp_path / "cache", 8)
    assert isinstance(found.test.images, np.memmap)
    np.testing.assert_array_equal(found.test.images, expected.test.images)


def test_a_broken_picture_is_told_of_when_it_is_asked_for(tmp_path):
    root = write_folder(tmp_path / "images")
    victim = tmp_path / "images" / "cat" / "00.jpg"
    victim.write_bytes(victim.read_bytes()[:40])
    splits = on_demand(DataConfig(root, SIZE), tmp_path / "cache", 8)
    (part,) = (part for name in PARTS for part in [getattr(splits, name)] if 0 in part.images.indices)
    with pytest.raises(UserError, match=r"00\.jpg cannot be read .*--skip-broken") as caught:
        part.images[:]
    assert "\n" not in str(caught.value)


def test_all_are_decoded_where_broken_ones_are_to_be_left_out(tmp_path):
    root = write_folder(tmp_path / "images")
    (tmp_path / "images" / "cat" / "00.jpg").write_bytes(b"no picture")
    config = DataConfig(root, SIZE, skip_broken=True)
    found = on_demand(config, tmp_path / "cache", 8)
    expected = prepare(config, tmp_path / "full", 8)
    np.testing.assert_array_equal(found.test.images, expected.test.images)
    np.testing.assert_array_equal(found.train.labels, expected.train.labels)
