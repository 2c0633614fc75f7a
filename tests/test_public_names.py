"""What each folder offers: a change here is a change for users."""

import importlib

import pytest

PUBLIC = {
    "hwnas.devices": ["DEVICES", "Device", "Measurement", "Profile", "RunConfig", "Session", "load_profile"],
    "hwnas.latency": [
        "Calibration",
        "Predictor",
        "RelativeErrors",
        "TablePredictor",
        "calibrate",
        "fastest_and_slowest",
        "kendall_tau",
    ],
    "hwnas.nn": ["BlockModule", "Compute", "Network", "Supernet", "fastest", "layer_weights"],
    "hwnas.runtimes": ["RUNTIMES", "LoadedModel", "Runtime"],
    "hwnas.search": ["STRATEGIES", "Budget", "Evolution", "RandomSearch", "Strategy", "Trial", "search"],
    "hwnas.spaces": ["PUBLISHED", "SPACES", "Arch", "OpSpec", "Slot", "Space", "SpaceConfig", "build_space", "macs"],
    "hwnas.supernet": ["PATH_SAMPLERS", "PathJudge", "recalibrate", "supernet_training", "uniform"],
    "hwnas.datasets": ["PARTS", "DataConfig", "ImageSet", "Splits", "open_source", "prepare"],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there(module):
    found = importlib.import_module(module)
    assert set(PUBLIC[module]) <= set(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)
