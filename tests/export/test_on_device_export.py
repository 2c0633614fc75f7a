"""Exported files on the phone or board that they are for: what they compute there is what they compute here."""

from dataclasses import replace

import numpy as np
import pytest
from shipments import small_shipment

from hwnas.devices import RemoteDevice, load_profile
from hwnas.errors import UserError
from hwnas.export.card import CARD
from hwnas.export.export import logits_of
from hwnas.runtimes.runtime import NotRun
from hwnas.stages.export import check_sound, shipped
from hwnas.stages.shipping import Choices, forms

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)


@pytest.fixture(params=["ssh", "adb"])
def profile(request, elsewhere):
    return load_profile(elsewhere.profile(request.param))


def test_a_device_computes_what_this_host_computes(profile, exported_folder):
    model = exported_folder / "export/model.tflite"
    there = RemoteDevice(profile).logits(model, IMAGES)
    np.testing.assert_array_equal(there, logits_of(model, "litert", IMAGES))


def test_a_file_that_does_not_run_there_says_how_it_ended(profile, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"no model")
    with pytest.raises(NotRun, match=r"ended with status 1: .*[Mm]odel"):
        RemoteDevice(profile).logits(bad, IMAGES)


def test_a_device_that_is_gone_is_told(profile, elsewhere, exported_folder):
    device = RemoteDevice(profile)
    device.describe()
    elsewhere.cut()
    with pytest.raises(NotRun, match="could not be sent what it needs"):
        device.logits(exported_folder / "export/model.tflite", IMAGES)


def exported(tmp_path, profile):
    shipment = replace(small_shipment(), profile=profile)
    return shipped(tmp_path, shipment, Choices(forms("fp32", "tflite,onnx"), max_drop_points=None))


def test_an_export_checks_the_files_of_its_runtime_on_its_device(profile, tmp_path, capsys):
    record = exported(tmp_path, profile)
    found = record["files"]["litert"]["on_device"]
    assert found["max_relative_difference"] == 0
    assert found["same_top1_as_here"] == 1
    assert found["images"] == 24
    assert "on_device" not in record["files"]["ort"]
    check_sound(record, tmp_path)
    assert f"model.tflite, on {found['device']}: " in capsys.readouterr().err
    assert f"## On {found['device']}" in (tmp_path / "export" / CARD).read_text()


def test_a_file_that_computes_otherwise_there_is_failed(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(RemoteDevice, "logits", lambda self, model, images: logits_of(model, "litert", images) * 1.01)
    record = exported(tmp_path, profile)
    with pytest.raises(UserError, match=f"is not for {profile.name}: on .* it differs from the trained network"):
        check_sound(record, tmp_path)
    assert record["files"]["litert"]["path"] == "model.failed.tflite"
