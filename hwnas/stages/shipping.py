"""A trained module -> a folder of verified files in several precisions, and the record that `export.json` holds."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hwnas import __version__
from hwnas.datasets import ImageSet
from hwnas.devices import Profile, open_device
from hwnas.errors import UserError
from hwnas.export import (
    CARD,
    Exported,
    Preprocessing,
    Reference,
    convert,
    convert_for_apple,
    load_target,
    logits_of,
    measure_exported,
    measured_on,
    model_card,
    reduce,
    reference,
    target_names,
    write_beside,
    write_golden,
)
from hwnas.runtimes import CONVERTERS, RUNNABLE, RUNTIMES
from hwnas.runtimes.quiet import chatter_in
from hwnas.runtimes.runtime import Precision
from hwnas.search.evidence import wilson_interval
from hwnas.stages.config import DEFAULT_QAT_EPOCHS
from hwnas.stages.elsewhere import checked_there, emulated, emulated_on, emulating, on_device, processors_of
from hwnas.stages.mending import FOLDER, Files, fine_tuned, lost_too_much, remade
from hwnas.stages.progress import Report, progress
from hwnas.stages.run import say
from hwnas.stages.telling import tell
from hwnas.storage import Record, write_text
from hwnas.train import Diverged, Recipe

SHIPPED = ("litert", "ort")
FORMATS = {"tflite": "litert", "onnx": "ort", "executorch": "executorch", "coreml": "coreml"}  # and who makes them
DEFAULT_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
ALL_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8_float_io", "dynamic")
CALIBRATION_IMAGES = 200
CLEARLY = 1.1  # times the latency of fp32: what counts as slower
Form = tuple[str, Precision]  # runtime, precision
Decoding = Callable[[int, int], None]  # images decoded, of how many


@dataclass(frozen=True)
class Choices:
    """What the user wants of an export. max_drop_points None: accuracy is not judged."""

    forms: tuple[Form, ...]
    max_drop_points: float | None = 1.0
    checked_images: int = 500
    licence: str = ""
    qat_epochs: int = DEFAULT_QAT_EPOCHS  # of fine-tuning where int8 loses more than max_drop_points; 0: none
    check_on: tuple[str, ...] = ()  # emulated processors


@dataclass(frozen=True)
class Plan:
    """What a run expects of the file that its profile's device runs."""

    file: str  # its entry of `export.json`
    threads: int
    predicted_ms: float
    budget_ms: float


@dataclass(frozen=True)
class Shipment:
    """A module, and what is known of it."""

    module: nn.Module
    model: str  # as people call it
    data: str
    is_unseen: bool  # whether the test images certainly took no part in training
    classes: tuple[str, ...]  # in the order of the logits
    preprocessing: Preprocessing
    train: ImageSet  # labels are indices of `classes`
    test: ImageSet
    seed: int
    profile: Profile
    recipe: Recipe = field(default_factory=Recipe)  # by which the weights were trained; of what is brought, the default
    plan: Plan | None = None  # None: the model is no run's
    decode_train: Callable[[Decoding], ImageSet] | None = None  # all of `train`, to train on; None: it is decoded


def forms(precisions: str | None, formats: str | None = None) -> tuple[Form, ...]:
    """What `--precisions` and `--formats` mean: each precision of every format that has it.

    UserError for what there is not, and for a format whose library is not installed.
    """
    runtimes = _runtimes(formats)
    wanted = [name.strip() for name in precisions.split(",")] if precisions else list(DEFAULT_PRECISIONS)
    for name in wanted:
        if name not in ALL_PRECISIONS:
            raise UserError(f"--precisions has {name!r}; allowed are {', '.join(ALL_PRECISIONS)}, with commas between")
        if precisions and name != "fp32" and not any(_is_reducible(runtime, name) for runtime in runtimes):
            able = [kind for kind, runtime in FORMATS.items() if _is_reducible(runtime, name)]
            raise UserError(
                f"--precisions has {name}, in which --formats {formats} has no files; leave it out, or add "
                f"{' or '.join(able)} to --formats"
            )
    chosen: list[Precision] = [name for name in ALL_PRECISIONS if name in wanted or name == "fp32"]
    return tuple((r, p) for p in chosen for r in runtimes if p == "fp32" or _is_reducible(r, p))


def _is_reducible(runtime: str, precision: str) -> bool:
    return runtime in RUNTIMES and precision in RUNTIMES[runtime].reductions


def _runtimes(formats: str | None) -> tuple[str, ...]:
    """Who makes the files of `--formats`, in the order of FORMATS."""
    if formats is None:
        return SHIPPED
    wanted = [name.strip() for name in formats.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise UserError(f"--formats has {name!r}; allowed are {', '.join(FORMATS)}, with commas between")
        CONVERTERS[FORMATS[name]].version()
    return tuple(runtime for name, runtime in FORMATS.items() if name in wanted)


def choices_of(
    precisions: str | None,
    formats: str | None,
    max_drop_points: float,
    checked_images: int,
    licence: str,
    qat_epochs: int,
    check_on: str | None,
) -> Choices:
    """The options of `hwnas export`; UserError for the first that cannot be."""
    if not 0 <= max_drop_points <= 100:
        raise UserError(f"--max-drop is {max_drop_points}; allowed are 0 to 100 percentage points")
    if checked_images < 1:
        raise UserError(f"--images is {checked_images}; allowed is 1 or more")
    if qat_epochs < 0:
        raise UserError(f"--qat-epochs is {qat_epochs}; allowed is 0, which turns fine-tuning for int8 off, or more")
    chosen, on = forms(precisions, formats), processors_of(check_on)
    return Choices(chosen, max_drop_points, checked_images, licence, qat_epochs, on)


def key_of(form: Form) -> str:
    """The entry of `export.json` for a file: `litert`, `litert_int8`."""
    runtime, precision = form
    return runtime if precision == "fp32" else f"{runtime}_{precision}"


def ship(shipment: Shipment, choices: Choices, folder: Path, log: Path) -> Record:
    """Fills `folder`; what converters print goes to `log`. The record tells which files failed."""
    if shipment.profile.is_elsewhere:
        open_device(shipment.profile).runtime_version()  # a device that is not there is told before minutes of work
    pixels, ref = _reference(shipment, choices.checked_images)
    preprocessing = json.dumps(shipment.preprocessing.as_record())
    write_beside(folder, shipment.classes, preprocessing)
    metadata = {"labels": json.dumps(shipment.classes), "preprocessing": preprocessing, "hwnas_version": __version__}
    with emulating(choices.check_on) as arm, progress("exporting") as report, chatter_in(log):
        exported = _convert_all(shipment, choices, folder, metadata, ref, report)
        exported = _mended(shipment, choices, exported, folder, log.parent / FOLDER, metadata, ref, report)
        described = _describe_all(shipment, choices, folder, metadata, ref)
        is_trained = choices.max_drop_points is not None
        told = []
        for place in (emulated(arm), on_device(shipment.profile)):
            exported, records = checked_there(place, exported, folder, ref, report, is_trained)
            told.append(records)
        sound = {key: file for key, file in exported.items() if not file.failed}
        measured = _measured(shipment.profile, sound, folder, report)
        report(len(choices.forms), len(choices.forms), "")
    _write_golden(folder, pixels, ref, sound)
    record = _record(shipment, ref, exported, measured, [measured, *told]) | {"emulated_on": emulated_on(arm)}
    record["files"] |= described
    write_text(folder / CARD, model_card(record, choices.licence))
    tell(record)
    return record


def _picked(images: ImageSet, count: int, seed: int) -> NDArray[np.intp]:
    """Indices of images drawn at random, in stored order."""
    return np.sort(np.random.default_rng(seed).permutation(len(images.labels))[:count])


def _reference(shipment: Shipment, count: int) -> tuple[NDArray[np.uint8], Reference]:
    """(stored pixels of the first one, all of them as the module sees them)."""
    picked = _picked(shipment.test, count, shipment.seed)
    images = shipment.preprocessing.normalised(shipment.test, picked)
    labels = np.asarray(shipment.test.labels)[picked]
    return np.asarray(shipment.test.images[picked[0]]), reference(shipment.module, images, labels)


def _convert_all(
    shipment: Shipment, choices: Choices, folder: Path, metadata: Mapping[str, str], ref: Reference, report: Report
) -> dict[str, Exported]:
    """By key. Nothing is made of an fp32 file that failed."""
    found: dict[str, Exported] = {}
    calibration = _calibration(shipment)
    for number, (runtime, precision) in enumerate(form for form in choices.forms if form[0] in RUNNABLE):
        report(number, len(choices.forms), f"{runtime} {precision}")
        key, start_s = key_of((runtime, precision)), time.perf_counter()
        if precision == "fp32":
            found[key] = convert(shipment.module, runtime, folder, metadata, ref)
        elif not found[runtime].failed:
            most = choices.max_drop_points
            found[key] = reduce(runtime, precision, folder, metadata, calibration, ref, most)
        if key in found:
            found[key] = replace(found[key], seconds=time.perf_counter() - start_s)
    return found


def _describe_all(
    shipment: Shipment, choices: Choices, folder: Path, metadata: Mapping[str, str], ref: Reference
) -> dict[str, Record]:
    """By key: the files that cannot be run here."""
    found: dict[str, Record] = {}
    for form in choices.forms:
        if form[0] not in RUNNABLE:
            start_s = time.perf_counter()
            file = convert_for_apple(shipment.module, folder, metadata, ref)
            found[key_of(form)] = replace(file, seconds=time.perf_counter() - start_s).as_record()
    return found


def _calibration(shipment: Shipment) -> NDArray[np.float32]:
    """Normalised training images: (n, 3, resolution, resolution)."""
    picked = _picked(shipment.train, CALIBRATION_IMAGES, shipment.seed)
    return shipment.preprocessing.normalised(shipment.train, picked)


def _mended(
    shipment: Shipment,
    choices: Choices,
    files: Files,
    folder: Path,
    checkpoints: Path,
    metadata: Mapping[str, str],
    ref: Reference,
    report: Report,
) -> Files:
    """The same files, but int8 ones that lost too much of weights fine-tuned for int8, where that is better."""
    most, epochs, done = choices.max_drop_points, choices.qat_epochs, len(choices.forms)
    if most is None or not epochs or not lost_too_much(files):
        return files
    worst = max(files[key].drop_points for key in lost_too_much(files))
    say(f"int8 loses {worst:.2f} points (allowed {most:g}): its weights are fine-tuned (--qat-epochs {epochs}, 0: not)")
    calibration, train = _calibration(shipment), shipment.train
    if shipment.decode_train is not None:
        train = shipment.decode_train(lambda decoded, images: report(decoded, images, "reading images"))
    try:
        tuned, told = fine_tuned(
            *(shipment.module, train, shipment.preprocessing, calibration, shipment.recipe, epochs),
            *(shipment.seed, checkpoints, lambda n: report(done + n, done + epochs, f"fine-tuned {n} of {epochs}")),
        )
    except Diverged as error:
        say(f"fine-tuning for int8 did not work: {error}")
        return files
    return remade(files, folder, tuned, told, calibration, ref, metadata, most)


def _measured(profile: Profile, sound: Mapping[str, Exported], folder: Path, report: Report) -> dict[str, Record]:
    if profile.device == "fake":
        return {}
    files = {key: (file.runtime, folder / file.path) for key, file in sound.items() if file.runtime in RUNTIMES}
    return measure_exported(files, profile, lambda what: report(len(sound), len(sound) + 1, f"measuring {what}"))


def _write_golden(folder: Path, pixels: NDArray[np.uint8], ref: Reference, sound: Mapping[str, Exported]) -> None:
    logits = {
        file.path: (file.precision, logits_of(folder / file.path, file.runtime, ref.images[:1])[0])
        for file in sound.values()
    }
    write_golden(folder, pixels, logits)


def _record(
    shipment: Shipment,
    ref: Reference,
    exported: Mapping[str, Exported],
    measured: Mapping[str, Record],
    told: Sequence[Mapping[str, Record]],
) -> Record:
    files = {
        key: {**file.as_record(), **dict(item for by in told for item in by.get(key, {}).items())}
        for key, file in exported.items()
    }
    runtimes = {exported[key].runtime for key, found in measured.items() if found["latency_ms"]}
    on = measured_on(shipment.profile, runtimes) if measured else {}
    return {
        "model": shipment.model,
        "data": shipment.data,
        "is_unseen": shipment.is_unseen,
        "classes": list(shipment.classes),
        "torch": {
            "test_accuracy": ref.accuracy,
            "test_accuracy_interval": wilson_interval(ref.accuracy, len(ref.labels)),
            "images": len(ref.labels),
        },
        "files": files,
        "measured_on": on,
        "plan": _against_plan(shipment.plan, files),
        "slower": {key: why for key, file in files.items() if (why := _slower(file, files))},
        "targets": {name: _structure(name, exported) for name in target_names()},
    }


def _against_plan(plan: Plan | None, files: Mapping[str, Record]) -> Record:
    """What was planned, and the latency measured with as many threads; None where it was not."""
    if plan is None:
        return {}
    found = files.get(plan.file, {}).get("latency_ms", {}).get(str(plan.threads))
    return {**asdict(plan), "measured_ms": found}


def _slower(file: Record, files: Mapping[str, Record]) -> str:
    """Why a file of less precision is slower than the fp32 one, where it is."""
    own, exact = (x.get("latency_ms", {}).get("1") for x in (file, files[file["runtime"]]))
    if own is None or exact is None or own <= CLEARLY * exact:
        return ""
    targets = [load_target(name) for name in target_names()]
    reasons = {
        f"{operator} {why}"
        for target in targets
        if target.runtime == file["runtime"]
        for operator, why in target.slow_in(file["operators"], file["precision"]).items()
    }
    left = [f"{count} x {operator} run outside the delegate" for operator, count in file["left_out"].items()]
    return f"{own:.3g} ms here, fp32 {exact:.3g} ms" + "".join(f"; {reason}" for reason in [*sorted(reasons), *left])


def _structure(name: str, exported: Mapping[str, Exported]) -> Record:
    """What of each file the target's executor would not run, and which files are refused there."""
    target, found = load_target(name), {}
    for key, file in exported.items():
        if file.runtime != target.runtime:
            continue
        outside = dict(Counter(target.outside(file.operators, file.precision)) | Counter(file.left_out))
        refused = target.refused.get(file.precision, "")
        found[key] = {"falls_back_to_cpu": outside} | ({"refused": refused} if refused else {})
    return {"executor": target.executor, "files": found}


def failures(record: Record) -> str:
    """What failed, in one line; empty where nothing did."""
    return "; ".join(file["failed"] for file in record["files"].values() if file.get("failed"))
