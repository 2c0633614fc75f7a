"""bundle: a target's kit, filled with an exported model: a folder to build or run on the device."""

from pathlib import Path

from hwnas.errors import UserError
from hwnas.export import fill_kit, load_target
from hwnas.stages.run import say
from hwnas.stages.shipping import ALL_PRECISIONS
from hwnas.storage import read_json


def run_bundle(out: Path, target_name: str, to: Path, precision: str | None, files: Path | None) -> None:
    """Fills the kit with the file that `out` holds; UserError where the target cannot run it."""
    target = load_target(target_name)
    if not (out / "export.json").exists():
        raise UserError(f"{out / 'export.json'} is not there; run `hwnas export --out {out}` first")
    named = precision or target.precisions[0]
    chosen = [known for known in ALL_PRECISIONS if known == named]
    if not chosen:
        raise UserError(f"--precision is {named!r}; allowed for {target.name} are {', '.join(target.precisions)}")
    filled = fill_kit(target, chosen[0], out / "export", read_json(out / "export.json"), to, files)
    say(f"{filled.folder}: {target.description}, with {filled.model.relative_to(filled.folder)}; see README.md in it")
    if filled.absent:
        say(f"it still needs {', '.join(filled.absent)}: {target.needs_from}")
