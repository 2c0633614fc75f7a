"""Says what pictures show, with the model beside this file.

python classify.py PICTURE... [--threads 1] [--top 3]

Needs numpy, pillow, and ai-edge-litert or tflite-runtime. At start it computes the golden picture, and stops where the
values are not those that the exporting machine found: preprocessing or runtime would be wrong then.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MOST_THREADS = 256
HERE = Path(__file__).resolve().parent
RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


class Classifier:
    """The model with its labels and preprocessing, in one interpreter."""

    def __init__(self, folder: Path = HERE, threads: int = 1) -> None:
        self.folder = folder
        self.labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        self.preprocessing = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        self.golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        self.interpreter = load(folder / self.golden["model"], threads)
        self.input, self.output = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]

    def logits(self, image: Image.Image) -> np.ndarray:
        """(classes,) of one picture."""
        values = preprocessed(image, self.preprocessing)
        self.interpreter.set_tensor(self.input["index"], stored(values[None], self.input))
        self.interpreter.invoke()
        return real(self.interpreter.get_tensor(self.output["index"])[0], self.output)

    def check_golden(self) -> None:
        """SystemExit where this machine computes something else than the exporting one."""
        with Image.open(self.folder / self.golden["image"]) as image:
            found = self.logits(image)
        expected = np.array(self.golden["logits"])
        error = np.abs(found - expected).max() / np.abs(expected).max()
        if not error <= self.golden["max_relative_error"]:
            sys.exit(
                f"the golden picture gives other values than where the model was exported: {error:.2g} relative, "
                f"allowed {self.golden['max_relative_error']:g}; preprocessing or runtime is not the model's"
            )


def load(path: Path, threads: int):
    """An interpreter of the first runtime that is installed."""
    for name in RUNTIMES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        interpreter = module.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        return interpreter
    sys.exit("no TFLite runtime is installed; `pip install ai-edge-litert` or `pip install tflite-runtime`")


def preprocessed(image: Image.Image, how: dict) -> np.ndarray:
    """(side, side, 3) as the network gets it: centred square, resized, cut, normalised."""
    image = ImageOps.exif_transpose(image).convert("RGB")
    size, side = how["resize_shorter_side_px"], how["center_crop_px"]
    if image.size != (size, size):
        shorter = min(image.size)
        left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
        box = (left, top, left + shorter, top + shorter)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    margin = (size - side) // 2
    pixels = np.asarray(image, np.float32)[margin : margin + side, margin : margin + side]
    mean, std = np.array(how["mean"], np.float32), np.array(how["std"], np.float32)
    return (pixels / np.float32(255) - mean) / std


def stored(values: np.ndarray, tensor: dict) -> np.ndarray:
    """Real values as the tensor stores them: integers where it is quantised."""
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])


def real(values: np.ndarray, tensor: dict) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - zero_point) * scale if scale else values


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def number(text: str, most: int | None = None) -> int:
    """What the text says; ArgumentTypeError where it is no whole number of at least 1, and at most `most`."""
    value = int(text) if text.isdecimal() else 0
    if value < 1 or (most is not None and value > most):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1" + (f" to {most}" if most else " on"))
    return value


def arguments() -> argparse.Namespace:
    # the docstring tells the usage; told again before every error it would be more than one line
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--threads", type=lambda text: number(text, MOST_THREADS), default=1)
    parser.add_argument("--top", type=number, default=3)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    try:
        classifier = Classifier(threads=options.threads)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        sys.exit(f"{HERE} is no whole kit: {error}; fill it again with `hwnas bundle`")
    classifier.check_golden()
    for path in options.pictures:
        try:
            with Image.open(path) as image:
                start_s = time.perf_counter()
                shares = softmax(classifier.logits(image))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow raises all of these
            sys.exit(f"{path} cannot be read: {error}")
        latency_ms = (time.perf_counter() - start_s) * 1e3
        best = np.argsort(shares)[::-1][: options.top]
        named = ", ".join(f"{classifier.labels[i]} {shares[i]:.1%}" for i in best)
        print(f"{path}: {named} ({latency_ms:.1f} ms with preprocessing)")


if __name__ == "__main__":
    main()
