"""ExecuTorch, torch's own runtime on phones: files for XNNPACK on a CPU, run here by its Python runtime."""

from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.runtimes.quiet import quiet
from hwnas.runtimes.runtime import LoadedModel
from hwnas.spaces.layers import Shape
from hwnas.storage import write_bytes

if TYPE_CHECKING:
    from torch import nn


class LoadedExecuTorch:
    """The method `forward` of a program, which stays in memory with it."""

    def __init__(self, path: Path) -> None:
        with quiet():
            from executorch.runtime import Runtime

            self.program: Any = Runtime.get().load_program(path)
            self.forward: Any = self.program.load_method("forward")
        described = self.forward.metadata.input_tensor_meta(0)
        self.bound = np.zeros(described.sizes(), np.float32)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self.bound = np.ascontiguousarray(x)
        y: NDArray[np.float32] = self._outputs()[0].numpy().copy()  # the next run writes into the same memory
        return y

    def invoke(self) -> None:
        self._outputs()

    def _outputs(self) -> Any:
        import torch

        return self.forward.execute([torch.from_numpy(self.bound)])


class ExecuTorch:
    """fp32 programs whose layers XNNPACK computes."""

    name = "executorch"
    suffix = ".pte"

    def version(self) -> str:
        try:
            return f"executorch {packages.version('executorch')}"
        except packages.PackageNotFoundError:
            raise UserError('ExecuTorch is not installed; in the checkout, `pip install ".[executorch]"`') from None

    def convert(self, module: "nn.Module", input_shape: Shape, path: Path) -> None:
        import torch

        with quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = torch.export.export(module.eval(), (torch.zeros(1, *input_shape),))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            content = bytes(lowered.to_executorch().buffer)
        write_bytes(path, content)

    def operators(self, path: Path) -> list[str]:
        """Names of kernels, and of the delegate where it computes a part of the network."""
        with quiet():
            # internal to the package, which is why its version is bounded; nothing public reads a file
            from executorch.exir._serialize._program import deserialize_pte_binary
            from executorch.exir.schema import DelegateCall, KernelCall

            plan = deserialize_pte_binary(path.read_bytes()).program.execution_plan[0]
        calls = [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]
        return [
            plan.delegates[call.delegate_index].id
            if isinstance(call, DelegateCall)
            else plan.operators[call.op_index].name
            for call in calls
            if isinstance(call, DelegateCall | KernelCall)
        ]

    def left_out(self, path: Path) -> list[str]:
        return []  # the file tells its delegate's parts alone

    def load(self, path: Path, threads: int) -> LoadedModel:
        """XNNPACK's threads are the process's: `threads` has no effect."""
        return LoadedExecuTorch(path)

    def write_metadata(self, path: Path, metadata: dict[str, str]) -> None:
        """The format has no place for text: labels and preprocessing stand beside the file."""

    def read_metadata(self, path: Path) -> dict[str, str]:
        return {}
