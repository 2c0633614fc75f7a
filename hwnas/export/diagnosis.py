"""Why a module cannot be converted, in one line that names the layer."""

import re

import torch
from torch import nn

from hwnas.errors import UserError
from hwnas.runtimes.quiet import quiet
from hwnas.spaces.layers import Shape

MOST_CHARACTERS = 200  # of what a converter said
DATA_DEPENDENT = re.compile(r"dynamic control flow|data-dependent|DataDependent|UserErrorType\.DYNAMIC", re.IGNORECASE)


def conversion_error(module: nn.Module, input_shape: Shape, runtime: str, error: Exception) -> UserError:
    """What the user can do about the error that a converter ended with."""
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(module.eval(), (torch.zeros(1, *input_shape),))
    except Exception as untraceable:  # noqa: BLE001 the tracer raises many kinds
        return _untraceable(untraceable)
    culprit = _culprit(program, str(error))
    if culprit is None:
        return UserError(f"the {runtime} converter failed: {type(error).__name__}: {_short(str(error))}")
    operator, layer = culprit
    return UserError(
        f"the {runtime} converter does not know the operator {operator}, which layer {layer} uses; replace that layer "
        "by one of standard operators, or export for another runtime with --precisions"
    )


def _untraceable(error: Exception) -> UserError:
    if DATA_DEPENDENT.search(f"{type(error).__name__} {error}"):
        return UserError(
            "the model decides by the values of its input what to compute (dynamic control flow), which no model file "
            f"can hold: {_short(str(error))}; write it without `if` on tensors, or with torch.where"
        )
    return UserError(f"the model cannot be traced: {type(error).__name__}: {_short(str(error))}")


def _culprit(program: torch.export.ExportedProgram, said: str) -> tuple[str, str] | None:
    """(operator, layer) of the first node whose operator the converter named."""
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        name = str(node.target)  # aten.relu.default
        if name in said or name.removesuffix(".default") + "'" in said or name.replace(".", "::", 1) in said:
            return name, _layer(node)
    return None


def _layer(node: torch.fx.Node) -> str:
    """`features.3 (HardNet)`: where in the module the node comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "at the top of the model"
    path, kind = stack[-1]
    return f"{path or 'at the top of the model'} ({str(kind).rpartition('.')[2]})"


def _short(text: str) -> str:
    """The first sentence or so, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else line[:MOST_CHARACTERS] + " ..."
