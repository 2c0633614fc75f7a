"""Exported files on emulated Arm processors: what fails, what is told; and, where qemu is installed, the real ones."""

import shutil
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from shipments import small_shipment

from hwnas.errors import UserError
from hwnas.export import CARD, MAX_RELATIVE_ERROR, Exported, Reference, logits_of, reference
from hwnas.export.golden import TOLERANCE
from hwnas.runtimes.emulated import PROCESSORS, QEMU
from hwnas.runtimes.runtime import NotRun
from hwnas.stages import elsewhere
from hwnas.stages.elsewhere import MOST_IMAGES, checked_there, emulated, few_of, processors_of
from hwnas.stages.export import check_sound, shipped
from hwnas.stages.shipping import Choices, forms
from hwnas.storage import read_json

ON = ("cortex-a53", "cortex-a76")


@dataclass
class StandIn:
    """What the host computes, changed by a function on the last of the processors."""

    change: object
    views: dict = field(default_factory=lambda: dict.fromkeys(ON))

    def version(self):
        return "a stand-in"

    @property
    def names(self):
        return tuple(self.views)

    def logits(self, processor, runtime, model, images):
        found = logits_of(model, runtime, images)
        return self.change(found) if processor == ON[-1] else found


@pytest.fixture(scope="module")
def noise():
    """The exported network's own values."""
    shipment = small_shipment()
    return reference(
        shipment.module, shipment.preprocessing.normalised(shipment.test, np.arange(24)), shipment.test.labels
    )


@pytest.fixture
def checked(exported_folder, noise):
    """One of the exported files after its check: (the file, what is told of it)."""

    def checked_with(change, key, is_trained=True):
        told = read_json(exported_folder / "export.json")["files"][key]
        files = {key: Exported(**{name: told[name] for name in Exported.__slots__})}
        found = checked_there(
            emulated(StandIn(change)), files, exported_folder / "export", noise, lambda *_: None, is_trained
        )
        return found[0][key], found[1][key]["emulated"]

    return checked_with


def scaled(share):
    return lambda found: found * (1 + share)


def golden_off(found):
    return np.concatenate([found[:1] * (1 + 1.5 * TOLERANCE["int8"]), found[1:]])


def crash(found):
    raise NotRun("ended with status -11: no message")


@pytest.mark.parametrize(
    ("key", "share"),
    [("litert", MAX_RELATIVE_ERROR / 4), ("ort", MAX_RELATIVE_ERROR / 4), ("litert_fp16", 0.01), ("ort_int8", 0.05)],
)
def test_a_file_that_computes_the_same_is_sound(checked, key, share):
    file, told = checked(scaled(share), key)
    assert not file.failed
    same, changed = (told[name] for name in ON)
    assert same["max_relative_difference"] == 0
    assert same["max_relative_error"] == pytest.approx(file.max_relative_error, rel=1e-6)
    assert changed["max_relative_difference"] == pytest.approx(share, rel=0.05)
    assert changed["images"] == 24
    assert changed["same_top1_as_here"] == 1


@pytest.mark.parametrize(
    ("key", "change", "why"),
    [
        ("litert", scaled(2 * MAX_RELATIVE_ERROR), r"differs from the trained network: logits by 0\.0002"),
        ("ort", lambda found: found[:, ::-1], "differs from the trained network"),
        ("ort_fp16", lambda found: found + np.inf, "computes values that are not numbers"),
        ("litert_dynamic", crash, "does not run: the process ended with status -11"),
        ("litert_int8", scaled(0.2), r"computes other values than here: logits differ by 0\.2 relative"),
        ("litert_int8", golden_off, r"computes other values than here: .* golden picture by 0\.15 \(allowed 0\.1\)"),
    ],
)
def test_a_file_that_computes_otherwise_is_failed(checked, exported_folder, key, change, why):
    file, told = checked(change, key)
    assert not told["cortex-a53"]["failed"]
    with pytest.raises(UserError, match=f"is not for Arm: on cortex-a76 \\(emulated\\) it {why}"):
        check_sound({"files": {key: file.as_record()}}, exported_folder)
    assert ".failed." in file.path
    assert (exported_folder / "export" / file.path).exists()
    assert not (exported_folder / "export" / file.path.replace(".failed", "")).exists()


def test_of_an_untrained_network_only_fp32_is_judged_by_its_values(checked):
    file, told = checked(scaled(0.2), "ort_int8", is_trained=False)
    assert not file.failed
    assert told["cortex-a76"]["max_relative_difference"] == pytest.approx(0.2)
    file, _ = checked(scaled(0.2), "ort", is_trained=False)
    assert file.failed


def test_an_export_tells_of_its_check_and_no_kit_gets_what_failed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(elsewhere, "emulator", lambda processors, versions, say: nullcontext(StandIn(scaled(0.5))))
    choices = Choices(forms("fp32", "tflite"), max_drop_points=None, check_on=ON)
    record = shipped(tmp_path, small_shipment(), choices)
    assert set(record["emulated_on"]["processors"]) == set(ON)
    assert set(record["files"]["litert"]["emulated"]) == set(ON)
    with pytest.raises(UserError, match="not for Arm"):
        check_sound(record, tmp_path)
    card = (tmp_path / "export" / CARD).read_text()
    assert "| file | cortex-a53 | cortex-a76 |" in card
    assert "100% FAILED |" in card
    assert PROCESSORS["cortex-a76"].where in card
    assert not read_json(tmp_path / "export" / "golden.json")["files"]
    assert "model.failed.tflite, emulated: on cortex-a53" in capsys.readouterr().err


def test_few_pictures_are_of_all_and_the_golden_one_is_among_them():
    labels = np.arange(500)
    few = few_of(Reference(labels[:, None, None, None].astype(np.float32), labels, labels[:, None].astype(np.float32)))
    assert len(few.labels) == MOST_IMAGES
    assert few.labels[0] == 0
    assert np.diff(few.labels).max() <= 2 * 500 / MOST_IMAGES
    assert len(few_of(replace(few, labels=few.labels[:5])).labels) == 5


def test_processors_are_named_by_the_user(monkeypatch):
    monkeypatch.setattr(elsewhere, "find_qemu", lambda: "qemu")
    assert processors_of(None) == ()
    assert processors_of("cortex-a76, cortex-a53") == ON
    assert processors_of("all") == tuple(PROCESSORS)
    with pytest.raises(UserError, match=r"unknown processor of --check-on 'cortex-a54'; did you mean cortex-a5"):
        processors_of("cortex-a54")


@pytest.mark.slow
def test_the_files_compute_the_same_on_arm(tmp_path):
    if not any(map(shutil.which, QEMU)):
        pytest.skip("qemu-user is not installed")
    choices = Choices(
        forms("fp32,fp16,int8,int8_float_io,dynamic"), max_drop_points=None, check_on=processors_of("all")
    )
    try:
        record = shipped(tmp_path, small_shipment(), choices)
    except UserError as error:
        pytest.skip(f"no Arm Linux: {error}")
    check_sound(record, tmp_path)
    for file in record["files"].values():
        assert set(file["emulated"]) == set(PROCESSORS)
        for result in file["emulated"].values():
            assert result["same_top1_as_here"] == 1
            assert result["images"] == 24
    plain, half = (record["files"]["litert_fp16"]["emulated"][name] for name in ("cortex-a72", "cortex-a76"))
    assert plain["max_relative_difference"] < 1e-5 < half["max_relative_difference"]  # only the second computes in fp16
