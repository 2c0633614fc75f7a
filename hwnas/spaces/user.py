"""A space of one's own: a YAML file -> a chain. docs/spaces.md tells how to write one."""

import inspect
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import UserError, unknown
from hwnas.spaces.chain import SKIP, ChainBuilder
from hwnas.spaces.layers import shape_after
from hwnas.spaces.operators import KERNELS, KINDS, RESIZE, block
from hwnas.spaces.resolution import with_resolutions
from hwnas.spaces.space import ZERO, OpSpec, Space, make_divisible, op
from hwnas.yaml_files import read_yaml

SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[A-Za-z]\w*")
MOST = {"channels": 16_384, "stride": 4, "layers": 100, "stages": 50, "choices": 200, "resolutions": 25}
SMALLEST_SHARE = 0.25  # of the resolution
FLAGS = ("hs", "relu", "se")  # arguments that are 0 or 1
MOST_KERNEL = 31
ALLOWED = sorted(set(KINDS) - {ZERO, RESIZE})  # a chain has no other path; `resolutions` resizes


def is_file(name: str) -> bool:
    """Whether a space is told by a file, not by its name."""
    return Path(name).suffix in SUFFIXES


@dataclass(frozen=True)
class Part:
    """A mapping in the file and where it stands, so that an error can tell."""

    path: Path
    where: str
    content: Mapping[str, Any]

    def error(self, complaint: object) -> UserError:
        where = f"{self.where}: " if self.where else ""
        return UserError(f"space {self.path}: {where}{complaint}; see docs/spaces.md")

    def only(self, allowed: Iterable[str]) -> None:
        """UserError for the first key that has no meaning here."""
        for key in self.content:
            if key not in allowed:
                raise self.error(unknown("key", str(key), allowed))

    def get(self, key: str) -> Any:
        """UserError where the key is missing."""
        if key not in self.content:
            raise self.error(f"{key} is missing")
        return self.content[key]

    def whole(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number from `least` to `most`."""
        value = self.get(key) if default is None else self.content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(f"{key} is {value!r}, not a whole number from {least} to {most}")
        return value

    def part(self, where: str, value: object) -> "Part":
        """A mapping within this one."""
        where = f"{self.where}, {where}" if self.where else where
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise Part(self.path, where, {}).error(f"keys and values are needed, {value!r} came")
        return Part(self.path, where, value)

    def parts(self, key: str) -> "list[Part]":
        """The mappings of a list."""
        value = self.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= MOST["stages"]:
            raise self.error(f"{key} is {value!r}, not a list of 1 to {MOST['stages']} entries")
        return [self.part(f"{key} {number}", entry) for number, entry in enumerate(value, start=1)]


def read_space(file: Path, resolution: int, width_mult: float, num_classes: int) -> Space:
    """The chain of a file; UserError that tells what is wrong, and where.

    Strides are taken as they are written. `width_mult` multiplies all channel numbers, those inside operators too.
    """
    whole = _read(file)
    whole.only(("name", "resolutions", "stem", "stages", "head", "classifier"))
    name = whole.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise whole.error(f"name is {name!r}, not a letter and then letters, digits and underscores")
    chain = ChainBuilder(resolution)
    for part in whole.parts("stem"):
        _add_fixed(chain, part, width_mult)
    for number, stage in enumerate(whole.parts("stages")):
        _add_stage(chain, f"stage{number}", stage, width_mult)
    for part in whole.parts("head") if "head" in whole.content else ():
        _add_fixed(chain, part, width_mult)
    last = whole.part("classifier", {"kind": "classifier", **_mapping(whole, "classifier")})
    spec = _operator(last, chain, num_classes, 1, width_mult)
    chain.fixed(spec.kind, num_classes, **dict(spec.args))
    if not chain.decisions:
        raise whole.error("nothing is to be chosen: give a stage two choices")
    space = chain.space(name)
    return with_resolutions(space, name, _shares(whole)) if "resolutions" in whole.content else space


def _shares(whole: Part) -> list[float]:
    """Of the resolution, below 1 and descending."""
    value = whole.get("resolutions")
    shares = [1.0, *value] if isinstance(value, list) and 1 <= len(value) <= MOST["resolutions"] else []
    is_share = [isinstance(share, float) and SMALLEST_SHARE <= share <= 1 for share in shares]
    if not shares or not all(is_share) or any(b >= a for a, b in itertools.pairwise(shares)):
        raise whole.error(
            f"resolutions is {value!r}, not a list of 1 to {MOST['resolutions']} shares of --resolution, each below "
            f"the one before, from below 1 to {SMALLEST_SHARE}"
        )
    return shares[1:]


def _read(file: Path) -> Part:
    if not file.is_file():
        raise UserError(f"there is no space at {file}; give the path of a YAML file, or a name of `hwnas spaces`")
    return Part(file, "", {}).part("", read_yaml(file, "space"))


def _mapping(whole: Part, key: str) -> Mapping[str, Any]:
    """A mapping that may be left out."""
    return whole.part(key, whole.content[key]).content if key in whole.content else {}


def _add_fixed(chain: ChainBuilder, part: Part, width_mult: float) -> None:
    """An operator without a choice, with channels and stride of its own."""
    channels = make_divisible(part.whole("channels", 1, MOST["channels"]) * width_mult)
    stride = part.whole("stride", 1, MOST["stride"], default=1)
    spec = _operator(part, chain, channels, stride, width_mult, own_keys=("channels", "stride"))
    _check_shape(part, spec)
    chain.fixed(spec.kind, channels, spec.stride, **dict(spec.args))


def _add_stage(chain: ChainBuilder, name: str, stage: Part, width_mult: float) -> None:
    """Layers that are chosen; the first has the stride, and a skip is left out where the shape changes."""
    stage.only(("channels", "layers", "stride", "choices"))
    channels = make_divisible(stage.whole("channels", 1, MOST["channels"]) * width_mult)
    stage_stride = stage.whole("stride", 1, MOST["stride"], default=1)
    choices = stage.part("choices", stage.get("choices"))
    if len(choices.content) > MOST["choices"]:
        raise choices.error(f"{len(choices.content)} came, {MOST['choices']} at most are allowed")
    for layer in range(stage.whole("layers", 1, MOST["layers"])):
        stride = stage_stride if layer == 0 else 1
        keeps = stride == 1 and chain.shape[0] == channels
        options = {
            choice: _operator(choices.part(choice, value), chain, channels, stride, width_mult)
            for choice, value in choices.content.items()
            if keeps or not _is_skip(value)
        }
        for choice, spec in options.items():
            _check_shape(choices.part(choice, choices.content[choice]), spec)
        _refuse_twins(choices, options)
        if len(options) > 1:
            chain.chosen(f"{name}.layer{layer}", options)
        else:
            (spec,) = options.values()
            chain.fixed(spec.kind, channels, stride, **dict(spec.args))


def _is_skip(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") == SKIP


def _refuse_twins(choices: Part, options: Mapping[str, OpSpec]) -> None:
    if not options:
        raise choices.error("a choice that is no skip is needed: the shape changes")
    seen: dict[OpSpec, str] = {}
    for choice, spec in options.items():
        if (other := seen.setdefault(spec, choice)) != choice:
            raise choices.error(f"{other} and {choice} are the same operator, {spec}")


def _operator(
    part: Part, chain: ChainBuilder, channels: int, stride: int, width_mult: float, own_keys: tuple[str, ...] = ()
) -> OpSpec:
    """What follows the chain, by a mapping that holds kind, arguments of the kind, and `own_keys` that others read."""
    kind = part.get("kind")
    if not isinstance(kind, str) or kind not in ALLOWED:
        raise part.error(unknown("kind", str(kind), ALLOWED))
    parameters = list(inspect.signature(KINDS[kind]).parameters.values())[1:]  # the first is the operator itself
    names = {p.name: p.default is not p.empty for p in parameters}
    by_factor = "e" in part.content and "e" not in names and "h" in names
    part.only(("kind", *own_keys, *names, *(("e",) if "h" in names else ())))
    args = {}
    for name, is_optional in names.items():
        if name == "h" and by_factor:
            args["h"] = make_divisible(part.whole("e", 1, 64) * chain.shape[0])
        elif name in part.content or not is_optional:
            value = _argument(part, name)
            args[name] = make_divisible(value * width_mult) if name == "h" else value
    spec = op(kind, chain.shape, channels, stride, **args)
    try:
        block(spec)
    except ValueError as error:
        raise part.error(f"{spec}: {error}") from None
    return spec


def _check_shape(part: Part, spec: OpSpec) -> None:
    """UserError for an operator that cannot make what is to follow: a pooling keeps its channels, say."""
    made = shape_after(block(spec).layers, spec.in_shape)
    if made != spec.out_shape:
        made_of, wanted = ("x".join(map(str, shape)) for shape in (made, spec.out_shape))
        raise part.error(f"{spec} makes {made_of}, and {wanted} are needed here")


def _argument(part: Part, name: str) -> int:
    value = part.get(name)
    if name in FLAGS and isinstance(value, bool):
        return int(value)
    if name not in KERNELS:
        return part.whole(name, 0, 1) if name in FLAGS else part.whole(name, 1, MOST["channels"])
    number = part.whole(name, 0 if part.content["kind"] == "uib" else 1, MOST_KERNEL)
    if number and number % 2 == 0:
        raise part.error(f"{name} is {number}, not an odd number")
    return number
