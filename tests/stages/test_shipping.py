"""What is told of the files that an export ships."""

from hwnas.stages.shipping import _slower


def files(int8_ms, runtime="ort", operators=("QuantizeLinear", "HardSwish")):
    """A runtime's fp32 and int8 file, as `export.json` tells of them."""
    exact = {"runtime": runtime, "precision": "fp32", "operators": {}, "left_out": {}, "latency_ms": {"1": 2.0}}
    int8 = {"precision": "int8", "operators": dict.fromkeys(operators, 1), "latency_ms": {"1": int8_ms}}
    return {runtime: exact, f"{runtime}_int8": exact | int8}


def reason(found):
    *_, int8 = found.values()
    return _slower(int8, found)


def test_an_operator_that_makes_int8_slower_than_fp32_is_named():
    told = reason(files(int8_ms=2.5))
    assert told.startswith("2.5 ms here, fp32 2 ms; HardSwish ")


def test_what_is_not_slower_needs_no_reason():
    assert reason(files(int8_ms=2.1)) == ""


def test_without_such_an_operator_only_the_latencies_are_told():
    assert reason(files(int8_ms=3.0, operators=("QuantizeLinear",))) == "3 ms here, fp32 2 ms"
    assert reason(files(int8_ms=3.0, runtime="litert")) == "3 ms here, fp32 2 ms"  # its files have no hard-swish
