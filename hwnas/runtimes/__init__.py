"""Module -> file, and file -> numbers."""

from hwnas.runtimes.coreml import CoreML
from hwnas.runtimes.executorch import ExecuTorch
from hwnas.runtimes.fake import FakeRuntime
from hwnas.runtimes.litert import LiteRT
from hwnas.runtimes.onnx_runtime import OnnxRuntime
from hwnas.runtimes.runtime import Converter, LoadedModel, Runnable, Runtime

RUNTIMES: dict[str, Runtime] = {"litert": LiteRT(), "ort": OnnxRuntime(), "fake": FakeRuntime()}
RUNNABLE: dict[str, Runnable] = {**RUNTIMES, "executorch": ExecuTorch()}
CONVERTERS: dict[str, Converter] = {**RUNNABLE, "coreml": CoreML()}

__all__ = ["CONVERTERS", "RUNNABLE", "RUNTIMES", "Converter", "LoadedModel", "Runnable", "Runtime"]
