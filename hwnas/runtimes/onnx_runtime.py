"""ONNX Runtime: torch.onnx's exporter converts, onnxruntime runs."""

import importlib
from collections.abc import Sequence
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
from hwnas.storage import write_bytes

if TYPE_CHECKING:
    from torch import nn

ERRORS_ONLY = 3  # onnxruntime's log severity


class LoadedOnnx:
    """A session with input and output bound, so that timing does not copy."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS_ONLY
        self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self._bind(np.zeros(self.input.shape, np.float32))

    def _bind(self, x: NDArray[np.float32]) -> None:
        self.binding = self.session.io_binding()
        self.bound = np.ascontiguousarray(x)  # kept: the binding points into it
        self.binding.bind_cpu_input(self.input.name, self.bound)
        self.binding.bind_output(self.session.get_outputs()[0].name)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self._bind(x)
        self.invoke()
        y: NDArray[np.float32] = self.binding.copy_outputs_to_cpu()[0]
        return y

    def invoke(self) -> None:
        self.session.run_with_iobinding(self.binding)


class OnnxRuntime:
    """Files hold their weights and take one image."""

    name = "ort"
    suffix = ".onnx"
    delegate = "CPUExecutionProvider"
    reductions: tuple[Reduction, ...] = ("fp16", "int8")

    def version(self) -> str:
        try:
            return f"onnxruntime {packages.version('onnxruntime')}"
        except packages.PackageNotFoundError:
            raise UserError("ONNX Runtime is not installed; `pip install onnxruntime onnx`") from None

    def start(self) -> None:
        importlib.import_module("onnxruntime")

    def convert(self, module: "nn.Module", input_shape: Shape, path: Path) -> None:
        import torch

        from hwnas.nn.folding import folded
        from hwnas.runtimes.onnx_blocks import INPUT, OPSET, OUTPUT

        module = folded(module, input_shape)
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (torch.zeros(1, *input_shape),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
            )
            assert program is not None
            model = program.model_proto
        for node in model.graph.node:
            del node.metadata_props[:]  # stack traces with the paths of the exporting machine
        content = model.SerializeToString()
        write_bytes(path, content)

    def build(
        self,
        blocks: Sequence[Block],
        weights: Weights,
        input_shape: Shape,
        path: Path,
        wires: Sequence[Wire] | None = None,
    ) -> None:
        from hwnas.runtimes.onnx_blocks import build_onnx

        content = build_onnx(blocks, weights, input_shape, wires)
        write_bytes(path, content)

    def reduce(self, path: Path, precision: Reduction, images: Images, out: Path) -> None:
        from hwnas.runtimes.precision import reduce_onnx

        reduce_onnx(path, precision, images, out)

    def operators(self, path: Path) -> list[str]:
        from hwnas.runtimes.onnx_blocks import operator_names

        return operator_names(path.read_bytes())

    def left_out(self, path: Path) -> list[str]:
        return []  # the CPU provider runs them all

    def load(self, path: Path, threads: int) -> LoadedModel:
        return LoadedOnnx(path, threads)

    def write_metadata(self, path: Path, metadata: dict[str, str]) -> None:
        from hwnas.runtimes.onnx_blocks import with_metadata

        content = with_metadata(path.read_bytes(), metadata)
        write_bytes(path, content)

    def read_metadata(self, path: Path) -> dict[str, str]:
        from hwnas.runtimes.onnx_blocks import metadata_of

        return metadata_of(path.read_bytes())
