from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.datasets import DataConfig, open_source, prepare
from hwnas.errors import UserError


def fill(folder: Path, count: int, seed: int = 0) -> None:
    """`count` different 10 x 10 pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def config(root: Path) -> DataConfig:
    return DataConfig(str(root), 8)


def test_a_subfolder_per_class_in_sorted_order(tmp_path: Path) -> None:
    fill(tmp_path / "dog", 2)
    fill(tmp_path / "cat" / "deeper", 3, 1)
    source = open_source(config(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert not source.part.any()
    assert source.flip
    assert [source.name(i) for i in range(5)] == sorted(map(str, tmp_path.rglob("*.png")))
    assert source.image(0).mode == "RGB"


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 2)
    fill(tmp_path / "dog", 2)
    fill(tmp_path / ".trash", 2)
    fill(tmp_path / "cat" / ".thumbnails", 2)
    (tmp_path / "cat" / "._0.png").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "folder.png").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "dog" / "LOUD.JPG", "jpeg")
    source = open_source(config(tmp_path))
    assert (source.classes, source.labels.tolist()) == (("cat", "dog"), [0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val"), [0] * 4 + [2] * 4),  # a lone val/ is the test
        (("train", "test"), [0] * 4 + [2] * 4),
        (("train", "val", "test"), [0] * 4 + [1] * 4 + [2] * 4),
    ],
)
def test_official_parts(tmp_path: Path, folders: tuple[str, ...], expected: list[int]) -> None:
    for seed, name in enumerate(folders):
        fill(tmp_path / name / "a", 2, 2 * seed)
        fill(tmp_path / name / "b", 2, 2 * seed + 1)
    source = open_source(config(tmp_path))
    assert source.classes == ("a", "b")
    assert source.part.tolist() == expected


def test_official_parts_are_kept(tmp_path: Path) -> None:
    for seed, (name, count) in enumerate({"train": 10, "val": 4, "test": 3}.items()):
        fill(tmp_path / "in" / name / "a", count, 2 * seed)
        fill(tmp_path / "in" / name / "b", count, 2 * seed + 1)
    splits = prepare(config(tmp_path / "in"), tmp_path / "out", 4)
    assert [len(part.labels) for part in (splits.train, splits.search, splits.test)] == [20, 8, 6]


def test_search_is_held_out_of_train_where_only_the_test_is_official(tmp_path: Path) -> None:
    for seed, (name, count) in enumerate({"train": 20, "val": 4}.items()):
        fill(tmp_path / "in" / name / "a", count, 2 * seed)
        fill(tmp_path / "in" / name / "b", count, 2 * seed + 1)
    splits = prepare(config(tmp_path / "in"), tmp_path / "out", 4)
    assert [len(part.labels) for part in (splits.train, splits.search, splits.test)] == [34, 6, 8]


def test_an_unlabelled_test_folder_is_no_part(tmp_path: Path) -> None:
    fill(tmp_path / "test", 3)
    for name in ("train", "val"):
        fill(tmp_path / name / "a", 1)
        fill(tmp_path / name / "b", 1)
    assert open_source(config(tmp_path)).part.tolist() == [0, 0, 2, 2]


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    fill(tmp_path / "train", 2)
    fill(tmp_path / "bus", 2)
    assert open_source(config(tmp_path)).classes == ("bus", "train")


def test_a_class_that_is_missing_from_an_official_part_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "in" / "train" / "a", 8)
    fill(tmp_path / "in" / "train" / "b", 8, 1)
    fill(tmp_path / "in" / "val" / "a", 4, 2)
    with pytest.raises(UserError, match="class b has no image in the test part"):
        prepare(config(tmp_path / "in"), tmp_path / "out", 4)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images in .*; it must hold a subfolder per class .* with .*\.jpg"):
        open_source(config(tmp_path))


def test_an_empty_class_is_not_forgotten(tmp_path: Path) -> None:
    fill(tmp_path / "in" / "a", 8)
    fill(tmp_path / "in" / "b", 8, 1)
    (tmp_path / "in" / "c").mkdir()
    with pytest.raises(UserError, match="class c has 0 readable images"):
        prepare(config(tmp_path / "in"), tmp_path / "out", 4)


def ramp(bits: int) -> Image.Image:
    """All grey levels from black to white."""
    values = np.linspace(0, 2**bits - 1, 256).reshape(16, 16)
    return Image.fromarray(values.astype(np.uint16 if bits == 16 else np.uint8))


@pytest.mark.parametrize("name", ["16.png", "16.tif", "16.pgm", "8.png", "8.gif"])
def test_grey_levels_survive_any_depth(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "b", 1)
    (tmp_path / "a").mkdir()
    ramp(int(name.split(".")[0])).save(tmp_path / "a" / name)
    pixels = np.asarray(open_source(config(tmp_path)).image(0))
    np.testing.assert_allclose(pixels[..., 0].ravel(), np.arange(256), atol=1)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    fill(tmp_path / "b", 1)
    (tmp_path / "a").mkdir()
    palette = Image.new("RGB", (10, 10), (200, 10, 10)).quantize(4)
    palette.save(tmp_path / "a" / "0.png", transparency=bytes([255, 0, 128, 0]))
    assert open_source(config(tmp_path)).image(0).getpixel((0, 0)) == (200, 10, 10)


def test_float_pixels_are_told_of(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        fill(tmp_path / "in" / name, 6, seed)
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "in" / "a" / "0.tif")
    with pytest.raises(UserError, match=r"a/0\.tif cannot be read \(32 bits a pixel; save it with 8 or 16\)"):
        prepare(config(tmp_path / "in"), tmp_path / "out", 4)


@pytest.mark.parametrize("name", ["a\nb", "a\udcff"])
def test_a_class_name_that_no_list_of_labels_can_hold(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "b", 1)
    fill(tmp_path / name, 1)
    with pytest.raises(UserError, match="rename that folder with printable characters"):
        open_source(config(tmp_path))
