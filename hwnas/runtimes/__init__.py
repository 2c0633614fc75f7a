"""Module -> file, and file -> numbers."""

from hwnas.runtimes.fake import FakeRuntime
from hwnas.runtimes.litert import LiteRT
from hwnas.runtimes.onnx_runtime import OnnxRuntime
from hwnas.runtimes.runtime import LoadedModel, Runtime

RUNTIMES: dict[str, Runtime] = {"litert": LiteRT(), "ort": OnnxRuntime(), "fake": FakeRuntime()}

__all__ = ["RUNTIMES", "LoadedModel", "Runtime"]
