"""A name or a path -> a file of profiles/, latency_tables/ or export/."""

from pathlib import Path
from typing import Literal

from hwnas.errors import unknown

Kind = Literal["profiles", "latency_tables", "export"]
PACKAGE = Path(__file__).resolve().parent


def shipped(kind: Kind) -> Path:
    """The folder that came with hwnas: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / "data" / kind
    return inside if inside.is_dir() else PACKAGE.parent / kind


def names(kind: Kind, suffix: str) -> list[str]:
    """The names to choose from: the current directory's folder of that kind, and the shipped one."""
    folders = (Path(kind), shipped(kind))
    found = ((folder, path) for folder in folders if folder.is_dir() for path in folder.glob(f"*{suffix}"))
    return sorted({path.relative_to(folder).as_posix().removesuffix(suffix) for folder, path in found})


def find(kind: Kind, name: str, suffix: str) -> Path:
    """An existing path; else a name in the current directory's folder; else in the shipped one; else UserError."""
    candidates = (Path(name), Path(kind) / f"{name}{suffix}", shipped(kind) / f"{name}{suffix}")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    what = kind.rstrip("s").replace("_", " ")
    raise unknown(what, name, names(kind, suffix), f"A path to a {suffix} file is allowed too.")
