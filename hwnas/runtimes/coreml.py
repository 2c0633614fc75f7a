"""Core ML, Apple's runtime: files that only macOS and iOS can run. Here their description is checked, not their values.

fp32, because fp16, in which Apple's neural engine computes, loses what cannot be measured here.
"""

import shutil
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import UserError
from hwnas.runtimes.quiet import quiet
from hwnas.spaces.layers import Shape

if TYPE_CHECKING:
    from torch import nn

TYPE = "FLOAT32"
LIBRARYS_OWN = "com.github.apple.coremltools."  # what the library writes of itself


class CoreML:
    """A program in a folder, as Xcode takes it."""

    name = "coreml"
    suffix = ".mlpackage"

    def version(self) -> str:
        try:
            return f"coremltools {packages.version('coremltools')}"
        except packages.PackageNotFoundError:
            raise UserError('coremltools is not installed; in the checkout, `pip install ".[coreml]"`') from None

    def convert(self, module: "nn.Module", input_shape: Shape, path: Path) -> None:
        import torch

        from hwnas.runtimes.onnx_blocks import INPUT, OUTPUT

        with quiet():
            import coremltools

            program = torch.export.export(module.eval(), (torch.zeros(1, *input_shape),)).run_decompositions({})
            model = coremltools.convert(
                program,
                inputs=[coremltools.TensorType(name=INPUT, shape=(1, *input_shape))],
                outputs=[coremltools.TensorType(name=OUTPUT)],
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.iOS16,
            )
            model.save(str(path))

    def operators(self, path: Path) -> list[str]:
        block = next(iter(_loaded(path).get_spec().mlProgram.functions["main"].block_specializations.values()))
        return [operation.type for operation in block.operations if operation.type != "const"]

    def complaint(self, path: Path, input_shape: Shape, classes: int) -> str:
        """What of the description is not as it should be; empty where everything is."""
        from hwnas.runtimes.onnx_blocks import INPUT, OUTPUT

        description = _loaded(path).get_spec().description
        found = {"input": _described(description.input), "output": _described(description.output)}
        wanted = {"input": [(INPUT, (1, *input_shape), TYPE)], "output": [(OUTPUT, (1, classes), TYPE)]}
        return "; ".join(f"its {end} is {found[end]}, not {wanted[end]}" for end in wanted if found[end] != wanted[end])

    def write_metadata(self, path: Path, metadata: dict[str, str]) -> None:
        model = _loaded(path)
        own = {key for key in model.user_defined_metadata if not key.startswith(LIBRARYS_OWN)}
        for key in own - set(metadata):
            del model.user_defined_metadata[key]
        model.user_defined_metadata.update(metadata)
        changed = path.with_name(f"changed{path.suffix}")
        with quiet():
            model.save(str(changed))  # the library cannot save to the folder that it read
        shutil.rmtree(path)
        changed.rename(path)

    def read_metadata(self, path: Path) -> dict[str, str]:
        found = dict(_loaded(path).user_defined_metadata)
        return {key: text for key, text in found.items() if not key.startswith(LIBRARYS_OWN)}


def _loaded(path: Path) -> Any:
    with quiet():
        import coremltools

        return coremltools.models.MLModel(str(path), skip_model_load=True)


def _described(features: Any) -> list[tuple[str, tuple[int, ...], str]]:
    """(name, shape, type) of each."""
    arrays = [(feature.name, feature.type.multiArrayType) for feature in features]
    return [(name, tuple(array.shape), array.ArrayDataType.Name(array.dataType)) for name, array in arrays]
