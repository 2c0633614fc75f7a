"""export: the trained winner as ONNX and TFLite files of several precisions, checked on test images."""

import shutil
from dataclasses import replace
from pathlib import Path

from hwnas.devices import Profile, load_profile
from hwnas.errors import UserError
from hwnas.export import Preprocessing, model_path
from hwnas.nn import Network, keep_freed_memory
from hwnas.runtimes import RUNTIMES
from hwnas.stages.predictor import load_budget_ms
from hwnas.stages.run import Run, say
from hwnas.stages.shipping import FORMATS, SHIPPED, Choices, Form, Plan, Shipment, failures, key_of, ship
from hwnas.stages.train import build_network, checkpoint_name
from hwnas.storage import Record, read_json, without_nan
from hwnas.train import MEAN, STD, load_checkpoint, stored_size

LOG = "export.log"  # of a run directory: what the converters printed


def run_stage(run: Run, choices: Choices | None = None) -> None:
    """Writes `export/` and `export.json`; UserError where a file does not compute what was trained.

    Without choices, fp32 and what the run's profile measures.
    """
    winner = run.needs("selection.json", "select")["winner"]
    name, profile = checkpoint_name(winner), load_profile(run.config.on)
    trained = run.needs("train.json", "train").get("winner", {})
    if trained.get("checkpoint") != name:
        raise UserError(f"the winner of {run.file('selection.json')} is not trained yet; run `hwnas train` first")
    choices = _with_what_is_measured(choices or Choices(tuple((runtime, "fp32") for runtime in SHIPPED)), profile)
    if _is_exported(run, name, choices):
        say(f"{run.file('export')} holds the winner already")
        return
    keep_freed_memory()
    plan = Plan(file_key(profile), profile.threads, winner["predicted_ms"], load_budget_ms(run))
    shipment = replace(_shipment(run, trained_network(run, winner), name, profile), plan=plan)
    record = {"checkpoint": name, **shipped(run.path, shipment, choices)}
    run.write("export.json", record)
    check_sound(record, run.file("export"))


def shipped(out: Path, shipment: Shipment, choices: Choices) -> Record:
    """What `export.json` says of the files that are in `export/` of a folder now; whole, or as it was."""
    temporary = out / ".export"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    own = replace(choices, forms=tuple(form for form in choices.forms if form[0] in FORMATS.values()))
    try:
        record = ship(shipment, own, temporary, out / LOG)
        for form in choices.forms:
            if form[0] not in FORMATS.values():
                record["files"][key_of(form)] = _unchecked(shipment, form, temporary)
        (out / "export.json").unlink(missing_ok=True)  # it tells of files that go now
        shutil.rmtree(out / "export", ignore_errors=True)
        temporary.rename(out / "export")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    told: Record = without_nan(record)
    return told


def check_sound(record: Record, folder: Path) -> None:
    """UserError where a file failed."""
    if why := failures(record):
        raise UserError(f"{why}; what failed is in {folder} under a name with `failed`")


def _with_what_is_measured(choices: Choices, profile: Profile) -> Choices:
    """The same, and the file that the profile's device runs."""
    needed: list[Form] = [(profile.runtime, "fp32"), (profile.runtime, profile.dtype)]
    return replace(choices, forms=tuple(dict.fromkeys([*choices.forms, *needed])))


def _is_exported(run: Run, name: str, wanted: Choices) -> bool:
    """Whether `export/` holds every file of this network that is wanted, checked where wanted, and none that failed."""
    if not run.file("export.json").exists():
        return False
    exported = read_json(run.file("export.json"))
    paths = [run.file("export") / file["path"] for file in exported["files"].values()]
    keys = {key_of(form) for form in wanted.forms}
    is_whole = all(path.exists() for path in paths) and keys <= set(exported["files"])
    is_checked = set(wanted.check_on) <= set(exported.get("emulated_on", {}).get("processors", {}))
    return bool(exported["checkpoint"] == name and is_whole and is_checked and not failures(exported))


def trained_network(run: Run, record: Record) -> Network:
    """A network of `selection.json` with its trained, averaged weights."""
    network = build_network(run, record)
    state = load_checkpoint(run.file(f"train/{checkpoint_name(record)}.pt"))
    network.load_state_dict(state["ema"] or state["module"])
    return network.eval()


def _shipment(run: Run, network: Network, name: str, profile: Profile) -> Shipment:
    splits, resolution = run.splits(), run.config.resolution
    return Shipment(
        module=network,
        model=name,
        data=run.config.data,
        is_unseen=True,
        classes=splits.classes,
        preprocessing=Preprocessing(resolution, stored_size(resolution), (MEAN,) * 3, (STD,) * 3),
        train=splits.train,
        test=splits.test,
        seed=run.config.seed,
        profile=profile,
        recipe=run.recipe(run.config.train_epochs, run.config.lr, splits),
    )


def file_key(profile: Profile) -> str:
    """Which entry of `export.json` is the file that the profile's device runs."""
    return key_of((profile.runtime, profile.dtype))


def _unchecked(shipment: Shipment, form: Form, folder: Path) -> Record:
    """A file of the fake runtime, which only writes down what would run."""
    runtime, precision = form
    path, exact = model_path(folder, runtime, precision), model_path(folder, runtime)
    side = shipment.preprocessing.resolution_px
    if precision == "fp32":
        RUNTIMES[runtime].convert(shipment.module, (3, side, side), path)
    else:
        RUNTIMES[runtime].reduce(exact, precision, [], path)
    return {"path": path.name, "size_bytes": path.stat().st_size, "failed": ""}
