"""export: files where they will run, on the profile's phone or board, and by --check-on on emulated Arm processors."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.devices import Profile
from hwnas.errors import unknown
from hwnas.export import Exported, Reference
from hwnas.export.elsewhere import Elsewhere, Machines, OnDevice, compared_elsewhere, failed_elsewhere
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.emulated import PROCESSORS, Emulator, emulator, find_qemu
from hwnas.stages.progress import Report
from hwnas.stages.run import say
from hwnas.storage import Record

ALL = "all"
RUNTIMES_THERE = ("litert", "ort")  # that are to be had for Arm
MOST_IMAGES = 32  # an emulated processor is 10 to 100 times slower


def processors_of(check_on: str | None) -> tuple[str, ...]:
    """What `--check-on` means; UserError for a processor that is not known, and where qemu is missing."""
    if not check_on:
        return ()
    wanted = [name.strip() for name in check_on.split(",")]
    for name in wanted:
        if name not in (ALL, *PROCESSORS):
            raise unknown("processor of --check-on", name, [ALL, *PROCESSORS])
    find_qemu()
    return tuple(name for name in PROCESSORS if ALL in wanted or name in wanted)


@contextmanager
def emulating(processors: Sequence[str]) -> Iterator[Emulator | None]:
    """What runs files on the processors; None without processors."""
    if not processors:
        yield None
        return
    with emulator(processors, [RUNTIMES[name].version() for name in RUNTIMES_THERE], say) as arm:
        yield arm


@dataclass(frozen=True, slots=True)
class Place:
    """Where files are checked, and what is said of it."""

    machines: Machines
    runtimes: Collection[str]  # whose files run there
    whom: str  # who must not use what fails there
    how: str  # what is said of the machines beside their names
    told: Callable[[Mapping[str, Elsewhere]], Record]  # by machine -> what `export.json` tells of a file


def emulated(arm: Emulator | None) -> Place | None:
    """Emulated Arm processors, if there are some."""
    if arm is None:
        return None

    def told(by: Mapping[str, Elsewhere]) -> Record:
        return {"emulated": {on: result.as_record() for on, result in by.items()}}

    return Place(arm, RUNTIMES_THERE, "for Arm", " (emulated)", told)


def on_device(profile: Profile) -> Place | None:
    """The profile's phone or board, for files of its runtime. On this host they are checked anyway."""
    if not profile.is_elsewhere:
        return None
    device = OnDevice(profile)

    def told(by: Mapping[str, Elsewhere]) -> Record:
        [(name, result)] = by.items()
        return {"on_device": {"device": name, **result.as_record()}}

    return Place(device, (profile.runtime,), f"for {profile.name}", "", told)


def checked_there(
    place: Place | None,
    files: Mapping[str, Exported],
    folder: Path,
    ref: Reference,
    report: Report,
    is_trained: bool = True,
) -> tuple[dict[str, Exported], dict[str, Record]]:
    """The files, failed where they fail there; by key, what `export.json` tells of them beside that."""
    if place is None:
        return dict(files), {}
    sound = {key: file for key, file in files.items() if file.runtime in place.runtimes and not file.failed}
    found = compared_elsewhere(place.machines, sound, folder, few_of(ref), report, is_trained)
    records = {key: place.told(by) for key, by in found.items()}
    return failed_elsewhere(files, found, folder, place.whom, place.how), records


def few_of(ref: Reference) -> Reference:
    """At most MOST_IMAGES of the pictures, of all classes alike; the golden one, which is the first, among them."""
    picked = np.unique(np.linspace(0, len(ref.labels) - 1, MOST_IMAGES).astype(int))
    return Reference(ref.images[picked], ref.labels[picked], ref.logits[picked])


def emulated_on(arm: Emulator | None) -> Record:
    """What the figures belong to."""
    if arm is None:
        return {}
    return {"emulator": arm.version(), "processors": {name: PROCESSORS[name].where for name in arm.views}}
