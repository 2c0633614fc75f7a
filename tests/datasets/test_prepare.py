"""Three parts that share no image, and every mistake in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from hwnas.datasets import PARTS, DataConfig, load, prepare
from hwnas.errors import UserError


def write_images(folder, per_class=12, classes=("cat", "dog"), size=(20, 16), seed=0):
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


def config_of(folder, **more):
    return DataConfig(data=str(folder), image_size=16, **more)


def hashes(part):
    return [image.tobytes() for image in part.images]


def test_no_image_is_in_two_parts_even_if_it_is_there_twice(tmp_path):
    root = write_images(tmp_path / "images")
    for name in ("cat", "dog"):  # the same picture under several names, and in both classes
        for i in range(4):
            (root / name / f"copy{i}.png").write_bytes((root / "cat" / "000.png").read_bytes())
    splits = prepare(config_of(root), tmp_path / "cache", 8)
    record = json.loads((tmp_path / "cache" / "splits.json").read_text())
    indices = [set(record["indices"][part]) for part in PARTS]
    pixels = [set(hashes(part)) for part in (splits.train, splits.search, splits.test)]
    for a in range(3):
        for b in range(a):
            assert not indices[a] & indices[b]
            assert not pixels[a] & pixels[b]
    assert record["duplicates_left_out"] > 0


def test_digits_are_split_stratified_and_without_overlap(tmp_path):
    splits = prepare(DataConfig(data="digits", image_size=32), tmp_path / "cache", 8)
    parts = (splits.train, splits.search, splits.test)
    assert sum(len(p.labels) for p in parts) == 1797
    seen = [set(hashes(p)) for p in parts]
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]
    assert not splits.flip
    for part in parts:
        counts = np.bincount(part.labels, minlength=10)
        assert counts.max() / counts.min() < 1.25


def test_the_seed_decides_the_split(tmp_path):
    root = write_images(tmp_path / "images")
    found = [prepare(config_of(root, seed=s), tmp_path / f"c{i}", 8) for i, s in enumerate((0, 0, 1))]
    tests = [sorted(hashes(splits.test)) for splits in found]
    assert tests[0] == tests[1] != tests[2]


def test_a_second_call_reads_what_the_first_wrote(tmp_path):
    root = write_images(tmp_path / "images")
    first = prepare(config_of(root), tmp_path / "cache", 8)
    for path in (root / "cat").iterdir():
        path.unlink()  # not needed any more
    again = prepare(config_of(root), tmp_path / "cache", 8)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    assert load(tmp_path / "cache").classes == ("cat", "dog")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "images"]


def test_train_and_val_folders_are_kept_apart(tmp_path):
    write_images(tmp_path / "images" / "train", 12, seed=1)
    write_images(tmp_path / "images" / "val", 6, seed=2)
    splits = prepare(config_of(tmp_path / "images"), tmp_path / "cache", 8)
    assert len(splits.test.labels) == 12
    assert len(splits.train.labels) + len(splits.search.labels) == 24


def test_train_val_and_test_folders_are_the_three_parts(tmp_path):
    for seed, name in enumerate(("train", "val", "test")):
        write_images(tmp_path / "images" / name, 5 + seed, seed=seed)
    splits = prepare(config_of(tmp_path / "images"), tmp_path / "cache", 8)
    assert [len(p.labels) for p in (splits.train, splits.search, splits.test)] == [10, 12, 14]


def broken_folder(tmp_path, kind):
    root = tmp_path / "images"
    if kind == "empty":
        root.mkdir()
    elif kind == "one class":
        write_images(root, classes=("cat",))
    elif kind == "few":
        write_images(root)
        write_images(root, 2, ("bird",))
    elif kind == "small":
        write_images(root, size=(20, 6))
    elif kind != "missing":
        write_images(root)
        victim = root / "cat" / "003.png"
        content = victim.read_bytes()
        victim.write_bytes(b"no image" if kind == "corrupt" else content[: len(content) // 2])
    return root


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("empty", "no images in .*subfolder per class"),
        ("one class", "the data has 1 class"),
        ("few", "bird"),
        ("corrupt", r"003\.png cannot be read .*--skip-broken"),
        ("truncated", r"003\.png cannot be read .*--skip-broken"),
        ("small", "is 20 x 6 pixels; the shorter side needs at least 8"),
    ],
)
def test_bad_folders_are_one_line_and_leave_nothing(tmp_path, kind, message):
    root = broken_folder(tmp_path, kind)
    with pytest.raises(UserError, match=message) as caught:
        prepare(config_of(root), tmp_path / "cache", 8)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()
    assert {p.name for p in tmp_path.iterdir()} <= {"images"}


def test_broken_images_are_left_out_on_request_and_named(tmp_path):
    root = broken_folder(tmp_path, "corrupt")
    splits = prepare(config_of(root, skip_broken=True), tmp_path / "cache", 8)
    assert sum(len(p.labels) for p in (splits.train, splits.search, splits.test)) == 23
    skipped = json.loads((tmp_path / "cache" / "splits.json").read_text())["skipped"]
    assert [name.rsplit("/", 1)[-1] for name in skipped] == ["003.png"]


@pytest.mark.parametrize(
    ("name", "near"), [("cifar", "cifar10"), ("digit", "digits"), ("fashionmnist", "fashion_mnist")]
)
def test_an_unknown_name_brings_the_near_ones(tmp_path, name, near):
    with pytest.raises(UserError, match=f"did you mean .*{near}"):
        prepare(DataConfig(data=name, image_size=16), tmp_path / "cache", 8)


def test_a_torchvision_set_that_cannot_be_fetched_says_where_to_put_it(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", [])  # as without a network

    with pytest.raises(UserError, match=r"is not in .*--data-root"):
        prepare(DataConfig(data="mnist", image_size=16, data_root=str(tmp_path / "none")), tmp_path / "cache", 8)
