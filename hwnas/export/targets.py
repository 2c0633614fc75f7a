"""What a kind of device can run: the `target.yaml` of each folder of export/."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwnas.errors import UserError, unknown
from hwnas.resources import find, names
from hwnas.runtimes.runtime import Precision
from hwnas.yaml_files import read_yaml

FILE = "/target.yaml"
QUANTISED: tuple[Precision, ...] = ("int8", "int8_float_io")


class Target(BaseModel):
    """The kit of a target, and the files that it can be filled with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # the folder's
    folder: Path
    description: str
    runtime: Literal["litert", "ort"]
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)]  # the first one is the default
    refused: dict[Precision, str] = {}  # precisions that run wrongly there, and how
    executor: str  # what runs the operators: "XNNPACK"
    float_operators: frozenset[str]  # those that it runs, of fp32, fp16 and dynamic files
    int8_operators: frozenset[str]
    slow: dict[str, str] = {}  # operators that it runs slowly in int8 files, and how slowly
    assets: str = "."  # where in the kit the model and what belongs to it goes
    needs: tuple[str, ...] = ()  # files that the kit needs and hwnas does not have
    optional: dict[Precision, tuple[str, ...]] = {}  # such that it can do without, by the precision that they serve
    needs_from: str = ""  # where they all are to be had

    def outside(self, operators: Mapping[str, int], precision: Precision) -> dict[str, int]:
        """The operators of a file that the executor does not run, and how many: they fall back to plain CPU code."""
        allowed = self.int8_operators if precision in QUANTISED else self.float_operators
        return {name: count for name, count in operators.items() if name not in allowed}

    def slow_in(self, operators: Mapping[str, int], precision: Precision) -> dict[str, str]:
        """The operators of a file that make it slow, and how."""
        return {name: why for name, why in self.slow.items() if name in operators and precision in QUANTISED}

    def check(self, precision: Precision) -> None:
        """UserError where files of this precision are not for this target."""
        if precision in self.refused:
            raise UserError(f"{precision} is refused for {self.name}: {self.refused[precision]}")
        if precision not in self.precisions:
            raise UserError(f"{self.name} cannot run {precision} files; allowed are {', '.join(self.precisions)}")


def target_names() -> list[str]:
    """The targets to choose from."""
    return names("export", FILE)


def load_target(name: str) -> Target:
    """The target of a name or of a folder; UserError with every complaint in one line."""
    path = Path(name) / "target.yaml"
    if not path.is_file():
        if name not in target_names():
            raise unknown("target", name, target_names(), "A folder with a target.yaml is allowed too.")
        path = find("export", name, FILE)
    content = read_yaml(path, "target")
    if not isinstance(content, dict):
        raise UserError(f"target {path} must hold keys and values; copy one from export/ to start")
    try:
        return Target.model_validate({**content, "name": path.parent.name, "folder": path.parent})
    except ValidationError as error:
        complaints = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError(f"target {path}: {'; '.join(complaints)}") from None
