"""LiteRT, TensorFlow Lite's successor: litert-torch converts, ai-edge-litert (or tflite-runtime) runs."""

import importlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.runtimes.quiet import quiet
from hwnas.runtimes.runtime import Images, LoadedModel, Reduction, Weights
from hwnas.spaces.layers import Block, Shape
from hwnas.spaces.space import Wire
from hwnas.storage import write_atomically, write_bytes

if TYPE_CHECKING:
    from torch import nn

INTERPRETERS = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
METADATA_NAME = "hwnas"
DELEGATE = "DELEGATE"  # what an interpreter calls a part that a delegate took over
DYNAMIC_IS_WRONG = (
    "tflite-runtime 2.14 loads such files and returns wrong values without a word; use ai-edge-litert, or the int8 file"
)


def _installed() -> tuple[str, str]:
    """(package, version) of the interpreter; the maintained one first."""
    for package in INTERPRETERS:
        try:
            return package, packages.version(package)
        except packages.PackageNotFoundError:
            continue
    raise UserError("no TFLite runtime is installed; `pip install ai-edge-litert`")


def _interpreter_module() -> Any:
    return importlib.import_module(INTERPRETERS[_installed()[0]])


class LoadedLiteRT:
    """An interpreter with its input bound."""

    def __init__(self, path: Path, threads: int) -> None:
        with quiet():
            interpreter = _interpreter_module().Interpreter(str(path), num_threads=threads)
            interpreter.allocate_tensors()
        if _installed()[0] == "tflite-runtime" and _has_dynamic_range(interpreter):
            raise UserError(f"{path.name} has dynamic-range weights: {DYNAMIC_IS_WRONG}")
        self.interpreter: Any = interpreter
        self.input, self.output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        interpreter.set_tensor(self.input["index"], np.zeros(self.input["shape"], self.input["dtype"]))

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        values = _to_stored(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), self.input)
        self.interpreter.set_tensor(self.input["index"], values)
        self.interpreter.invoke()
        y = _from_stored(self.interpreter.get_tensor(self.output["index"]), self.output)
        return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y

    def invoke(self) -> None:
        self.interpreter.invoke()


def _has_dynamic_range(interpreter: Any) -> bool:
    """Whether an operator with weights takes them as int8 and its activations as float."""
    kinds = {tensor["index"]: np.dtype(tensor["dtype"]) for tensor in interpreter.get_tensor_details()}
    weighted = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    return any(
        kinds.get(node["inputs"][0]) == np.float32 and kinds.get(node["inputs"][1]) == np.int8
        for node in interpreter._get_ops_details()
        if node["op_name"] in weighted
    )


def _outside_delegates(operators: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of those that no delegate took over: an interpreter lists all of them, and each part of a delegate."""
    own = [operator for operator in operators if operator["op_name"] != DELEGATE]
    makers = {int(tensor): operator for operator in own for tensor in operator["outputs"]}
    inside: set[int] = set()
    for taken in (operator for operator in operators if operator["op_name"] == DELEGATE):
        inputs, left = {int(tensor) for tensor in taken["inputs"]}, [int(tensor) for tensor in taken["outputs"]]
        while left:
            tensor = left.pop()
            maker = makers.get(tensor)
            if tensor not in inputs and maker is not None and maker["index"] not in inside:
                inside.add(maker["index"])
                left += [int(source) for source in maker["inputs"]]
    return [str(operator["op_name"]) for operator in own if operator["index"] not in inside]


def _to_stored(x: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    """Real values as the tensor stores them: integers where it is quantised."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return x
    limits = np.iinfo(tensor["dtype"])
    stored: NDArray[Any] = np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])
    return stored


def _from_stored(x: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero_point = tensor["quantization"]
    return ((x.astype(np.float32) - zero_point) * scale).astype(np.float32) if scale else x


class LiteRT:
    """Files are channel-last inside, so that no transpose is left at either end."""

    name = "litert"
    suffix = ".tflite"
    delegate = "xnnpack"  # the interpreter's default on a CPU
    reductions: tuple[Reduction, ...] = ("fp16", "int8", "int8_float_io", "dynamic")

    def version(self) -> str:
        return " ".join(_installed())

    def start(self) -> None:
        _interpreter_module()

    def convert(self, module: "nn.Module", input_shape: Shape, path: Path) -> None:
        import torch

        from hwnas.nn.folding import folded
        from hwnas.runtimes.litert_rewriting import with_finite_padding

        with quiet():
            import litert_torch  # seconds, and only exporting needs it

        module = folded(module, input_shape)
        channels, height, width = input_shape
        example = torch.zeros(1, channels, height, width)
        with torch.no_grad():
            outputs = [0] if module(example).ndim == 4 else []
        with quiet(), torch.no_grad():
            channel_last = litert_torch.to_channel_last_io(module, args=[0], outputs=outputs)
            edge = litert_torch.convert(channel_last.eval(), (example.permute(0, 2, 3, 1).contiguous(),))
            write_atomically(path, lambda temporary: edge.export(str(temporary)))
        write_bytes(path, with_finite_padding(path.read_bytes()))

    def build(
        self,
        blocks: Sequence[Block],
        weights: Weights,
        input_shape: Shape,
        path: Path,
        wires: Sequence[Wire] | None = None,
    ) -> None:
        from hwnas.runtimes.litert_blocks import build_tflite  # needs the schema that only ai-edge-litert ships

        content = build_tflite(blocks, weights, input_shape, wires)
        write_bytes(path, content)

    def reduce(self, path: Path, precision: Reduction, images: Images, out: Path) -> None:
        from hwnas.runtimes.precision import reduce_tflite

        reduce_tflite(path, precision, images, out)

    def operators(self, path: Path) -> list[str]:
        from hwnas.runtimes.litert_graph import operator_names

        return operator_names(path.read_bytes())

    def left_out(self, path: Path) -> list[str]:
        return _outside_delegates(LoadedLiteRT(path, 1).interpreter._get_ops_details())

    def load(self, path: Path, threads: int) -> LoadedModel:
        return LoadedLiteRT(path, threads)

    def write_metadata(self, path: Path, metadata: dict[str, str]) -> None:
        from hwnas.runtimes.litert_graph import add_metadata

        content = add_metadata(path.read_bytes(), METADATA_NAME, json.dumps(metadata))
        write_bytes(path, content)

    def read_metadata(self, path: Path) -> dict[str, str]:
        from hwnas.runtimes.litert_graph import metadata_text

        return dict(json.loads(metadata_text(path.read_bytes(), METADATA_NAME) or "{}"))
