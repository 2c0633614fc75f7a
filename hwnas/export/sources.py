"""Models that a user brings: of torchvision, of timm, or of a Python file; with or without weights."""

import importlib.util
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.errors import UserError, unknown
from hwnas.export.preprocessing import Channels
from hwnas.train import MEAN, STD

# torchvision.transforms._presets.ImageClassification: what its pretrained weights were trained with
IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN: tuple[Channels, Channels] = ((MEAN,) * 3, (STD,) * 3)
RANDOM = "none"  # of --weights
WRAPPERS = ("ema", "state_dict", "model", "module")  # keys under which checkpoints hide the state


@dataclass(frozen=True)
class Brought:
    """A module that is ready to be exported, and the normalisation that goes with it."""

    module: nn.Module
    mean: Channels
    std: Channels


def bring(model: str, weights: str, num_classes: int, seed: int) -> Brought:
    """The module that `torchvision:NAME`, `timm:NAME` or `FILE.py:FUNCTION` names, with the weights of a file.

    UserError where there is no such model, or where the weights are not of it.
    """
    origin, _, name = model.rpartition(":")
    torch.manual_seed(seed)
    if origin == "torchvision":
        brought = _torchvision(name, num_classes)
    elif origin == "timm":
        brought = _timm(name, num_classes)
    elif origin.endswith(".py"):
        brought = Brought(_of_file(Path(origin), name), *OWN)
    else:
        raise UserError(f"--model is {model!r}; allowed are torchvision:NAME, timm:NAME and FILE.py:FUNCTION")
    if weights != RANDOM:
        load_weights(brought.module, Path(weights))
    return Brought(brought.module.eval(), brought.mean, brought.std)


def _torchvision(name: str, num_classes: int) -> Brought:
    from torchvision import models

    known = models.list_models(module=models)  # classifiers; detection and others are in submodules of their own
    if name not in known:
        raise unknown("torchvision classifier", name, known)
    return Brought(models.get_model(name, weights=None, num_classes=num_classes), *IMAGENET)


def _timm(name: str, num_classes: int) -> Brought:
    try:
        timm: Any = importlib.import_module("timm")
    except ModuleNotFoundError:
        raise UserError(f"timm:{name} needs timm, which is not installed; `pip install timm`") from None
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}; `timm.list_models()` names those that it has")
    module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    return Brought(module, tuple(module.pretrained_cfg["mean"]), tuple(module.pretrained_cfg["std"]))


def _of_file(path: Path, function: str) -> nn.Module:
    """What the function of the user's file returns. The file is run: it is the user's own."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"--model names the file {path}, which is not there")
    loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:  # noqa: BLE001 it is the user's own code
        raise UserError(f"{path} cannot be run: {_told(error, path)}") from None
    if not callable(getattr(loaded, function, None)):
        raise UserError(f"{path} has no function {function!r} that would return the model")
    try:
        module = getattr(loaded, function)()
    except Exception as error:  # noqa: BLE001 it is the user's own code
        raise UserError(
            f"{function}() of {path} fails: {_told(error, path)}; it is called without arguments and must return the "
            "model"
        ) from None
    if not isinstance(module, nn.Module):
        raise UserError(f"{function} of {path} returned {type(module).__name__}; a torch.nn.Module is needed")
    return module


def _told(error: Exception, path: Path) -> str:
    """The error in one line, and the last line of the user's file before it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == path.name]
    lines += [error.lineno] if isinstance(error, SyntaxError) else []
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{place}"


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills the module; UserError naming the first entry that is not as the module has it."""
    state, own = _state(path), module.state_dict()
    state = {name.removeprefix("module."): value for name, value in state.items()}
    wrong = [
        f"{n} is {tuple(state[n].shape)}, not {tuple(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    absent = [f"{n} is not there" for n in own if n not in state and not n.endswith("num_batches_tracked")]
    strange = [f"{n} is not of it" for n in state if n not in own]
    if wrong or absent or strange:
        raise UserError(
            f"the checkpoint {path} is of another model: {(wrong + absent + strange)[0]} ({len(wrong)} entries have "
            f"other shapes, {len(absent)} are missing, {len(strange)} are strange)"
        )
    module.load_state_dict(state, strict=False)


def _state(path: Path) -> dict[str, Tensor]:
    """Names and values of a .pt or .npz file."""
    if not path.is_file():
        raise UserError(f"--weights {path} is not there; give a .pt or .npz file, or `{RANDOM}` for random weights")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 torch and numpy raise many kinds for a damaged file
        raise UserError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}); a file that torch.save made of a state "
            "dict is needed"
        ) from None
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict) and content[key]:
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"the checkpoint {path} holds no state dict; save `model.state_dict()`")
    return content
