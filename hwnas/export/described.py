"""Formats that this host cannot run: the file is converted, and what it says of itself is compared with the module."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from hwnas.export.diagnosis import conversion_error
from hwnas.export.export import Reference, failed_path, model_path
from hwnas.runtimes.coreml import CoreML

NOT_RUN_HERE = "only macOS and iOS run Core ML: its values, accuracy and latency are not checked"


@dataclass(frozen=True, slots=True)
class Described:
    """One converted file whose values nobody knows yet."""

    path: str
    runtime: str
    precision: str
    size_bytes: int
    operators: dict[str, int] = field(default_factory=dict)
    not_run_here: str = NOT_RUN_HERE
    seconds: float = 0.0  # to make it
    failed: str = ""  # why the file must not be used

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def convert_for_apple(module: nn.Module, folder: Path, metadata: Mapping[str, str], ref: Reference) -> Described:
    """Writes the Core ML file. Failed where names, shapes, types or metadata in it are others than asked for.

    UserError where the module cannot be converted.
    """
    converter, path = CoreML(), model_path(folder, CoreML.name)
    channels, height, width = ref.images.shape[1:]
    shape = (channels, height, width)
    try:
        converter.convert(module, shape, path)
    except Exception as error:  # noqa: BLE001 converters raise whatever they meet
        raise conversion_error(module, shape, converter.name, error) from None
    converter.write_metadata(path, dict(metadata))
    wrong = converter.complaint(path, shape, ref.logits.shape[1])
    if converter.read_metadata(path) != dict(metadata):
        wrong = "; ".join(filter(None, [wrong, "it has lost labels or preprocessing"]))
    operators = dict(sorted(Counter(converter.operators(path)).items()))
    size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Described(
        (path.rename(failed_path(path)) if wrong else path).name,
        converter.name,
        "fp32",
        size_bytes,
        operators,
        failed=f"the {converter.name} file describes itself wrongly: {wrong}" if wrong else "",
    )
