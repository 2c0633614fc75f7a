"""fp32 files -> files of less precision. The same for blocks and networks, so that what is measured is what ships.

fp16: weights of half the size, arithmetic in fp16 where the device has it. int8: weights per channel, activations
calibrated on images; TFLite's input and output are int8 as well, with `int8_float_io` they stay float32. dynamic:
weights int8, activations float32, which TFLite quantises anew for every image.
"""

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.runtimes.quiet import quiet
from hwnas.runtimes.runtime import Images, Reduction
from hwnas.storage import write_atomically, write_bytes

# Without this entry XNNPACK computes in fp32 also where the processor has fp16 arithmetic: "Floating-Point (IEEE FP16)
# Operators", https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/delegates/xnnpack/README.md
FP16_ARITHMETIC = ("reduced_precision_support", "fp16accfp16")
_last_ranges: dict[bytes, Any] = {}  # of the last model and images: int8 and int8_float_io are made of the same


def reduce_tflite(path: Path, precision: Reduction, images: Images, out: Path) -> None:
    """By ai-edge-quantizer. fp16: half weights, each before a DEQUANTIZE, fp32 biases, input and output; int8: all."""
    from hwnas.runtimes.litert_graph import add_metadata

    content = _quantised_tflite(path, precision, images)
    write_bytes(out, add_metadata(content, *FP16_ARITHMETIC) if precision == "fp16" else content)


def _quantised_tflite(path: Path, precision: Reduction, images: Images) -> bytes:
    from ai_edge_quantizer import quantizer

    from hwnas.runtimes.litert_rewriting import in_integers

    content, ranges = path.read_bytes(), None
    with quiet():
        if precision in ("int8", "int8_float_io"):
            content = in_integers(content)
            ranges = _ranges(content, images)
        maker = quantizer.Quantizer(content)
        _choose_recipe(maker, precision)
        result = maker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _ranges(content: bytes, images: Images) -> Any:
    """The least and the largest value of every activation, over all images.

    Not the quantizer's own moving average over images: it cuts off what the brighter half of them has, and cost two
    networks trained on ImageNet 3.6 and 4.6 points of accuracy (docs/export.md).
    """
    key = _digest(content, images)
    if key not in _last_ranges:
        _last_ranges.clear()
        _last_ranges[key] = _observed(content, images)
    return copy.deepcopy(_last_ranges[key])


def _digest(content: bytes, images: Images) -> bytes:
    found = hashlib.sha256(content)
    for image in images:
        found.update(np.ascontiguousarray(image).data)
    return found.digest()


def _observed(content: bytes, images: Images) -> Any:
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    from hwnas.runtimes.litert_graph import INPUT_NAME, SIGNATURE

    samples = [{INPUT_NAME: np.ascontiguousarray(x.transpose(0, 2, 3, 1))} for x in images]
    # watching the tensors go by takes a sixth of the time of keeping them all; the ranges agree to 6e-7
    watching = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    calibration = calibrator.Calibrator(content, num_threads=1, mode=watching, qsv_update_func=min_max_update)
    calibration.calibrate({SIGNATURE: samples}, recipe_manager.RecipeManager())
    return calibration.get_model_qsvs()


def _choose_recipe(maker: Any, precision: Reduction) -> None:
    """Tells an ai-edge-quantizer what to quantise."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    names = qtyping.TFLOperationName
    match precision:
        case "fp16":
            casting = quantizer.AlgorithmName.FLOAT_CASTING
            maker.add_weight_only_config(".*", names.ALL_SUPPORTED, num_bits=16, algorithm_key=casting)
        case "int8" | "int8_float_io":
            maker.load_quantization_recipe(recipe.static_wi8_ai8())
        case "dynamic":
            maker.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    if precision == "int8_float_io":
        for end in (names.INPUT, names.OUTPUT):
            maker.update_quantization_recipe(".*", end, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE)


def reduce_onnx(path: Path, precision: Reduction, images: Images, out: Path) -> None:
    """By onnxruntime's own tools; input and output stay float32."""
    match precision:
        case "fp16":
            write_bytes(out, _halved_onnx(path))
        case "int8":
            write_atomically(out, lambda temporary: _quantise_onnx(path, images, temporary))
        case _:
            raise ValueError(f"ONNX files are made as fp16 and int8, {precision} came")


def _halved_onnx(path: Path) -> bytes:
    """Everything between a cast at the beginning and one at the end is fp16."""
    import onnx

    from hwnas.runtimes.onnx_blocks import INPUT

    with quiet():
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    # the converter appends the first cast as well; the format demands that nodes come after what they read
    model.graph.node.sort(key=lambda node: INPUT not in node.input)
    return bytes(model.SerializeToString())


def _quantise_onnx(path: Path, images: Images, out: Path) -> None:
    """QDQ format; unsigned activations, because on x86 signed ones are slower."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with quiet():
        quantize_static(
            str(path),
            str(out),
            _reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


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
