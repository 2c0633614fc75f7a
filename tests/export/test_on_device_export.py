"""Exported files on the phone or board that they are for: what they compute there is what they compute here."""

from dataclasses import replace

import numpy as np
import pytest
from shipments import small_shipment

from hwnas.devices import RemoteDevice, load_profile
from hwnas.errors import UserError
from hwnas.export.card import CARD
from hwnas.export.export import Exported, logits_of, reference
from hwnas.runtimes.runtime import NotRun
from hwnas.stages.elsewhere import checked_there, on_device
from hwnas.stages.export import check_sound, shipped
from hwnas.stages.shipping import Choices, forms
from hwnas.storage import read_json

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
    with pytest.raises(UserError, match=r"model\.tflite could not be sent to .*see to the device"):
        device.logits(exported_folder / "export/model.tflite", IMAGES)


def test_an_export_checks_the_files_of_its_runtime_on_its_device(elsewhere, tmp_path, capsys):
    shipment = replace(small_shipment(), profile=load_profile(elsewhere.profile("ssh")))
    record = shipped(tmp_path, shipment, Choices(forms("fp32", "tflite,onnx"), max_drop_points=None))
    found = record["files"]["litert"]["on_device"]
    assert found["max_relative_difference"] == 0
    assert found["same_top1_as_here"] == 1
    assert found["images"] == 24
    assert "on_device" not in record["files"]["ort"]
    check_sound(record, tmp_path)
    assert f"model.tflite, on {found['device']}: " in capsys.readouterr().err
    assert f"## On {found['device']}" in (tmp_path / "export" / CARD).read_text()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda found: found * 1.01, "differs from the trained network: logits by"),
        (lambda found: found + np.inf, "computes values that are not numbers"),
    ],
)
def test_a_file_that_computes_otherwise_there_is_failed(profile, exported_folder, monkeypatch, change, why):
    monkeypatch.setattr(RemoteDevice, "logits", lambda self, model, images: change(logits_of(model, "litert", images)))
    shipment, told = small_shipment(), read_json(exported_folder / "export.json")["files"]
    images = shipment.preprocessing.normalised(shipment.test, np.arange(24))
    files = {key: Exported(**{name: told[key][name] for name in Exported.__slots__}) for key in ("litert", "ort")}
    ref = reference(shipment.module, images, shipment.test.labels)
    found, _ = checked_there(on_device(profile), files, exported_folder / "export", ref, lambda *_: None)
    with pytest.raises(UserError, match=f"is not for {profile.name}: on .* it {why}"):
        check_sound({"files": {key: file.as_record() for key, file in found.items()}}, exported_folder)
    assert found["litert"].path == "model.failed.tflite"
    assert not found["ort"].failed
