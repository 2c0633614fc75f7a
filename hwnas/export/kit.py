"""A target's kit, filled with one exported file and what an app needs to know of it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import UserError
from hwnas.export.card import CARD
from hwnas.export.golden import IMAGE, LOGITS
from hwnas.export.targets import Target
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import Precision
from hwnas.storage import read_json, write_json

BESIDE = ("labels.txt", "preprocessing.json", IMAGE, CARD)
NOT_COPIED = ("target.yaml", "__pycache__", "node_modules", "build", ".gradle")


@dataclass(frozen=True)
class Filled:
    """A kit that is ready. absent: files that it needs, and that were not given."""

    folder: Path
    model: Path
    absent: tuple[str, ...]


def fill_kit(
    target: Target, precision: Precision, exported: Path, record: Mapping[str, Any], to: Path, files: Path | None
) -> Filled:
    """Copies the kit to a new folder `to` and puts the model of `exported` into it.

    files: a folder with what the kit needs, or can use, and hwnas does not have. UserError where there is no such file,
    where it failed, or where `to` holds something.
    """
    target.check(precision)
    source = _model(target, precision, exported, record)
    absent = [name for name in target.needs if files is None or not (files / name).is_file()]
    if files is not None and absent:
        raise UserError(f"{files} has no {', '.join(absent)}; {target.needs_from}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"--to {to} holds something already; choose a new folder")
    temporary = to.with_name(f".{to.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(target.folder, temporary, ignore=shutil.ignore_patterns(*NOT_COPIED))
    assets = temporary / target.assets
    assets.mkdir(parents=True, exist_ok=True)
    model = f"model{source.suffix}"
    shutil.copyfile(source, assets / model)
    for name in BESIDE:
        shutil.copyfile(exported / name, assets / name)
    golden = read_json(exported / LOGITS)
    described = {"image": IMAGE, "model": model, "precision": precision, **golden["files"][source.name]}
    write_json(assets / LOGITS, described)
    if files is not None:
        _copy_given(target, precision, files, temporary)
    if to.exists():
        to.rmdir()
    temporary.rename(to)
    return Filled(to, to / target.assets / model, tuple(absent))


def _copy_given(target: Target, precision: Precision, files: Path, kit: Path) -> None:
    """Copies what the kit needs, and what is there of that which it can use for this precision."""
    for name in target.needs:
        shutil.copyfile(files / name, kit / name)
    for name in target.optional.get(precision, ()):
        if (files / name).is_file():
            shutil.copyfile(files / name, kit / name)


def _model(target: Target, precision: Precision, exported: Path, record: Mapping[str, Any]) -> Path:
    """The exported file to put into the kit."""
    found = [
        file
        for file in record["files"].values()
        if file.get("runtime") == target.runtime and file.get("precision") == precision
    ]
    if not found:
        raise UserError(
            f"{exported} has no {precision} file for {target.name} ({RUNTIMES[target.runtime].suffix}); run `hwnas "
            f"export` with --precisions {precision} first"
        )
    if found[0]["failed"]:
        raise UserError(f"{found[0]['path']} is not put into a kit: {found[0]['failed']}")
    return exported / str(found[0]["path"])
