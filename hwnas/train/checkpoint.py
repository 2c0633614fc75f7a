"""The files in which a training survives: what is in a checkpoint, and when one may be written."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import UserError
from hwnas.storage import remove_temporaries, write_bytes

State = dict[str, Any]  # numbers, tensors, and dicts and lists of them


def save(path: Path, state: State) -> None:
    """The state as a file, whole or not at all; what a killed process left beside it is removed."""
    buffer = io.BytesIO()  # torch itself would report a full disk as an error of its own kind
    torch.save(state, buffer)
    remove_temporaries(path)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path) -> State:
    """The state in a checkpoint, on the CPU; UserError where the file is damaged or not there."""
    if not path.exists():
        raise UserError(f"checkpoint {path} is not there; run the stage that trains it again")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 torch raises many kinds for a damaged file
        raise UserError(f"checkpoint {path} is damaged ({type(error).__name__}); delete it and run again") from None


def check_processes(path: Path, state: State, processes: int, may_change: bool) -> None:
    """UserError where the checkpoint is of another number of processes, or of none that this version wrote."""
    before = state.get("processes")
    if before is None:
        raise UserError(f"checkpoint {path} is of another version of hwnas; delete it and its journal, and run again")
    if before != processes and not may_change:
        raise UserError(
            f"checkpoint {path} is of {before} process{'es' * (before > 1)}, now there "
            f"{'are' if processes > 1 else 'is'} {processes}; start as many as before (torchrun --nproc-per-node), or "
            "give --processes-may-change: the result is then the same within rounding, not to the bit"
        )


def check_fits(path: Path, state: State, module: nn.Module, companion: State) -> None:
    """UserError where the checkpoint holds other weights, or other things that are trained beside them.

    companion: the state of these things, which is empty where there are none.
    """
    saved, own = state["module"], module.state_dict()
    strange = [n for n in {**saved, **own} if n not in saved or n not in own or saved[n].shape != own[n].shape]
    again = "it is of another space or method: choose another --out, or delete it and its journal to begin anew"
    if strange:
        raise UserError(f"checkpoint {path} has {len(strange)} weights that do not fit, first {strange[0]}; {again}")
    if state["companion"].keys() != companion.keys():
        there, wanted = (", ".join(sorted(found)) or "nothing" for found in (state["companion"], companion))
        raise UserError(f"checkpoint {path} has {there} beside the weights, and {wanted} is trained here; {again}")


def is_finite(state: object, masked: bool = False) -> bool:
    """Whether every number of its tensors is finite. masked: -inf is allowed, as it marks what is not there."""
    tensors = [tensor for tensor in _tensors(state) if tensor.is_floating_point()]
    checks = [((t < torch.inf) if masked else t.isfinite()).all() for t in tensors]
    by_device = {check.device: [c for c in checks if c.device == check.device] for check in checks}
    return all(bool(torch.stack(found).all()) for found in by_device.values())  # one wait for each device


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
