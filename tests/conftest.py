"""What tests of several folders ask."""

import pytest


@pytest.fixture(scope="session")
def parts_in_xnnpack():
    """A TFLite file -> into how many parts it is cut for XNNPACK: one, where all of its operators run there."""
    from ai_edge_litert.interpreter import Interpreter

    def parts(path):
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())

    return parts


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder that stands for a board and a phone, and `ssh` and `adb` that reach it."""
    from standins import Elsewhere

    return Elsewhere(tmp_path / "elsewhere", monkeypatch)
