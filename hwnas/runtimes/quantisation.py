"""fp32 files -> int8 files: weights per channel, activations calibrated on images. The same for blocks and networks."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.runtimes.quiet import quiet
from hwnas.storage import write_atomically, write_bytes

Images = Sequence[NDArray[np.float32]]  # each (1, C, H, W), normalised


def quantise_tflite(path: Path, images: Images, out: Path) -> None:
    """ai-edge-quantizer's static recipe: int8 weights and activations, int8 input and output."""
    from ai_edge_quantizer import quantizer, recipe

    from hwnas.runtimes.litert_blocks import INPUT_NAME, SIGNATURE

    samples = [{INPUT_NAME: np.ascontiguousarray(x.transpose(0, 2, 3, 1))} for x in images]
    with quiet():
        maker = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        calibrated = maker.calibrate({SIGNATURE: samples}, num_threads=1)
        result = maker.quantize(calibrated, enable_progress_bar=False, enable_progress_report=False)
    content = bytes(result.quantized_model)
    write_bytes(out, content)


def quantise_onnx(path: Path, images: Images, out: Path) -> None:
    """onnxruntime's QDQ format: int8 weights per channel, unsigned activations, float input and output.

    Unsigned, because on x86 signed activations are slower.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    def write(temporary: Path) -> None:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                str(path),
                str(temporary),
                _reader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )

    write_atomically(out, write)


def _reader(images: Images) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    from hwnas.runtimes.onnx_blocks import INPUT

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.left, None)
            return None if image is None else {INPUT: image}

    return Reader()
