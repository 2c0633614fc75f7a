"""Why a module cannot be converted, in one line that names the layer."""

import re
import traceback
from pathlib import Path

import torch
from torch import nn

from hwnas.errors import UserError
from hwnas.export.targets import QUANTISED
from hwnas.runtimes.quiet import quiet
from hwnas.spaces.layers import Shape

MOST_CHARACTERS = 200  # of what a converter said
WITHOUT_INT8 = ("STABLEHLO_REDUCE_WINDOW",)  # pooling that is none of TFLite's own
MOST_DIMENSIONS = 5  # of a tensor that an int8 TFLite file can hold
OUTSIDE = (OSError, MemoryError)  # for which no operator is to blame
DATA_DEPENDENT = re.compile(r"dynamic control flow|data-dependent|DataDependent|UserErrorType\.DYNAMIC", re.IGNORECASE)


def conversion_error(module: nn.Module, input_shape: Shape, runtime: str, error: Exception) -> UserError:
    """What the user can do about the error that a converter ended with."""
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(module.eval(), (torch.zeros(1, *input_shape),))
            programs = (program, program.run_decompositions())  # converters name operators of either
    except Exception as untraceable:  # noqa: BLE001 the tracer raises many kinds
        return _untraceable(untraceable)
    named = () if isinstance(error, OUTSIDE) else programs  # converters tell where they were, whatever happened
    culprit = next(filter(None, (_culprit(program, str(error)) for program in named)), None)
    if culprit is None:
        return UserError(f"the {runtime} converter failed: {type(error).__name__}: {_short(str(error))}")
    operator, layer = culprit
    return UserError(
        f"the {runtime} converter does not know the operator {operator}, which layer {layer} uses; replace that layer "
        "by one of standard operators"
    )


def reduction_error(path: Path, runtime: str, precision: str, error: Exception) -> UserError:
    """What the user can do about the error that making less precise numbers of an fp32 file ended with."""
    culprit = _int8_culprit(path, str(error)) if runtime == "litert" and precision in QUANTISED else ""
    return UserError(
        f"the {runtime} file of {precision} cannot be made or does not run: {culprit}{type(error).__name__}: "
        f"{_short(str(error))}; leave {precision} out of --precisions" + (", or replace that layer" if culprit else "")
    )


def _int8_culprit(path: Path, said: str) -> str:
    """The operator of a TFLite file that a quantiser stumbled over, and its layer; empty where neither tells."""
    from hwnas.runtimes.litert_graph import Graph

    graph = Graph.opened(path.read_bytes())
    for node in graph.graph.operators:
        (name, *_), kind = [graph.graph.tensors[i].name.decode() for i in node.outputs], graph.kind(node)
        if kind in WITHOUT_INT8 or len(graph.shape(node.outputs[0])) > MOST_DIMENSIONS or f"{name}." in said:
            return f"the operator {kind} of layer {_layer_of(name)} has no int8: "
    return ""


def _layer_of(tensor: str) -> str:
    """`stem.1 (AvgPool2d)`, of a name as litert-torch gives it: WRAPPER/NET_wrapped/Sequential_stem/AvgPool2d_1;3."""
    inside = [step.rpartition(".")[2].partition("_") for step in tensor.partition(";")[0].split("/")[2:]]
    if not inside:
        return "the module itself"
    return f"{'.'.join(name for _, _, name in inside)} ({inside[-1][0]})"


def _untraceable(error: Exception) -> UserError:
    if DATA_DEPENDENT.search(f"{type(error).__name__} {error}"):
        return UserError(
            "the model decides by the values of its input what to compute (dynamic control flow), which no model file "
            f"can hold: {_place(error)}; write it without `if` and loops on tensors, say with torch.where"
        )
    return UserError(f"the model cannot be traced at {_place(error)}: {type(error).__name__}: {_short(str(error))}")


def _place(error: Exception) -> str:
    """`net.py, line 12: if x.sum() > 0:`: the last line of the user's own code before the error."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((*ours, "<"))]
    if not frames:
        return "a place that is not known"
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}"


def _culprit(program: torch.export.ExportedProgram, said: str) -> tuple[str, str] | None:
    """(operator, layer) of the first node whose operator the converter named."""
    for node in program.graph.nodes:
        name = str(node.target)  # aten.relu.default
        if node.op == "call_function" and re.search(rf"\b{re.escape(name.removesuffix('.default'))}\b", said):
            return name, _layer(node)
    return None


def _layer(node: torch.fx.Node) -> str:
    """`features.3 (HardNet)`: where in the module the node comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return f"{path or 'at the top'} ({str(kind).rpartition('.')[2]})"


def _short(text: str) -> str:
    """The beginning, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else line[:MOST_CHARACTERS] + " ..."
