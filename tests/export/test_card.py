"""What an export of a run says of its latency: measured, predicted, allowed."""

from dataclasses import replace

import pytest

from hwnas.export import plan_told
from hwnas.stages.export import shipped
from hwnas.stages.shipping import Choices, Plan

PLAN = {"file": "litert", "threads": 1, "predicted_ms": 2.0, "budget_ms": 2.2, "measured_ms": 2.1}
FILES = {"litert": {"path": "model.tflite"}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "model.tflite with 1 thread: measured 2.1 ms, predicted 2 ms (+5 %), budget 2.2 ms (kept)"),
        (
            {"measured_ms": 2.5, "threads": 2},
            "model.tflite with 2 threads: measured 2.5 ms, predicted 2 ms (+25 %), budget 2.2 ms (exceeded)",
        ),
        ({"measured_ms": None}, "model.tflite with 1 thread: latency not measured, predicted 2 ms, budget 2.2 ms"),
        ({"file": "fake"}, ""),
    ],
)
def test_latency_is_told_against_prediction_and_budget(changed, told):
    assert plan_told({"plan": PLAN | changed, "files": FILES}) == told


def test_a_model_of_no_run_has_no_plan():
    assert plan_told({"plan": {}, "files": FILES}) == ""


def test_record_card_and_screen_have_the_plan(noise_shipment, tmp_path, monkeypatch, capsys):
    measured = {"ort": {"latency_ms": {"1": 0.5, "2": 0.3}, "load_ms": 4.0, "peak_memory_mb": 5.0}}
    monkeypatch.setattr("hwnas.stages.shipping._measured", lambda *arguments: measured)
    shipment = replace(noise_shipment, plan=Plan("ort", 1, 0.4, 0.6))
    record = shipped(tmp_path, shipment, Choices((("ort", "fp32"),), max_drop_points=None))
    assert record["plan"] == {"file": "ort", "threads": 1, "predicted_ms": 0.4, "budget_ms": 0.6, "measured_ms": 0.5}
    told = "model.onnx with 1 thread: measured 0.5 ms, predicted 0.4 ms (+25 %), budget 0.6 ms (kept)"
    assert f"The run that made it: {told}." in (tmp_path / "export" / "MODEL_CARD.md").read_text()
    said = capsys.readouterr().err
    assert told in said
    assert "0.5 ms with 1 thread, 0.3 ms with 2 threads, loaded in 4 ms, 5 MB of memory" in said
