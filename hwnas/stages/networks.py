"""Whole networks in a run: which they are, how they are described, and their measured latency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.devices import Measurement, Profile, load_profile, open_device
from hwnas.errors import UserError
from hwnas.footprint import METRICS
from hwnas.latency.profiler import build_model, check_measured, failures, identity, measure_files, measure_rows
from hwnas.latency.table import LatencyTable
from hwnas.resources import find, shipped
from hwnas.spaces import Arch, Space, SpaceConfig, build_space, config_of, macs, params
from hwnas.stages.config import option
from hwnas.stages.progress import Report, progress
from hwnas.stages.run import Run
from hwnas.storage import Record, scratch, write_text

CALIBRATION, CANDIDATES = "networks.jsonl", "candidates.jsonl"  # whole networks that fit measures, and select
NETWORKS = "whole networks"  # what the rows of these are called
SUFFIX = ".jsonl"  # of a latency table


@dataclass(frozen=True)
class NetworkId:
    """A network of any space."""

    config: SpaceConfig
    arch: Arch

    @property
    def space(self) -> Space:
        return build_space(self.config)

    @property
    def key(self) -> str:
        """Its row where whole networks are measured."""
        space = self.config
        choices = ".".join(map(str, self.arch))
        return f"{space.name}-r{space.resolution}-w{space.width_mult:g}-n{space.num_classes}-{choices}"

    def describe(self, label: str, **more: Any) -> Record:
        """The network as `selection.json` holds it."""
        ops = self.space.ops(self.arch)
        return {
            "label": label,
            "space": self.config.name,
            "resolution": self.config.resolution,
            "num_classes": self.config.num_classes,
            "width_mult": self.config.width_mult,
            "arch": list(self.arch),
            "choices": self.space.to_names(self.arch),
            "macs": macs(ops),
            "params": params(ops),
            **more,
        }


def network_of(run: Run, record: Record) -> NetworkId:
    """The network that a record of the run's `selection.json` describes."""
    return NetworkId(config_of(record, run.path), tuple(record["arch"]))


def own_network(run: Run, space: Space, arch: Arch) -> NetworkId:
    """An architecture of the run's own space."""
    return NetworkId(replace(run.space_config(space.num_classes), name=space.name), arch)


def operator_table(run: Run, profile: Profile) -> LatencyTable:
    """The run's latency table: `table.jsonl`, or the one that --table names.

    One that came with hwnas is copied into the run, and stays as it is.
    """
    own, named, wanted = run.file("table.jsonl"), run.config.table, _identity(run, profile)
    if named is None or not run.config.has_table:
        return LatencyTable(own, wanted)
    if named.endswith(SUFFIX) and not Path(named).exists() and Path(named).parent.is_dir():
        return LatencyTable(Path(named), wanted)  # a new one
    source = find("latency_tables", named, SUFFIX)
    table = LatencyTable(source, wanted)
    if source.parent.resolve() != shipped("latency_tables").resolve():
        return table
    if not own.exists():
        write_text(own, source.read_text(encoding="utf-8"))
    return LatencyTable(own, wanted)


def _identity(run: Run, profile: Profile) -> dict[str, str]:
    return identity(profile, open_device(profile), run.space_at(2))


def network_table(run: Run, file: str = CALIBRATION) -> LatencyTable:
    """The run's whole networks that were measured, in one of its files."""
    return LatencyTable(run.file(file), _identity(run, load_profile(run.config.on)), row="network")


def measure_networks(run: Run, networks: Sequence[NetworkId], report: Report, file: str) -> LatencyTable:
    """The table of the file, with every network measured, or written down as failed; what it lacks is measured now.

    Rows of one file tell how fast the machine was, and so change each other's medians a little: what a predictor
    follows from has a file of its own, CALIBRATION, to which nothing comes later.
    """
    table = network_table(run, file)
    rows = {network.key: network.space.ops(network.arch) for network in networks}
    measure_rows(rows, load_profile(run.config.on), table, run.config.seed, report)
    return table


def measured_ms(run: Run, networks: Sequence[NetworkId], report: Report, file: str) -> list[float]:
    """Median latency of each network on the run's device; UserError where one cannot be measured."""
    table, keys = measure_networks(run, networks, report, file), [network.key for network in networks]
    check_measured(keys, load_profile(run.config.on), table, NETWORKS)
    return [table[key].median_ms for key in keys]


def measured_footprints(run: Run, networks: Sequence[NetworkId], report: Report) -> list[dict[str, float]]:
    """File size and peak memory of each network, by metric; what `footprints.jsonl` lacks is measured now.

    Metrics that no option limits are left out where the device does not tell them.
    """
    profile, journal = load_profile(run.config.on), run.journal("footprints.jsonl")
    on = f"{profile.name}, {open_device(profile).runtime_version()}"
    needed = run.config.max_peak_memory_mb is not None
    usable = [r for r in journal.records if r.get("on") == on and (not needed or "peak_memory_mb" in r)]
    known = {record["network"]: record for record in usable}
    with scratch() as folder:
        for number, network in enumerate(networks):
            report(number, len(networks), network.key)
            if network.key not in known:
                path = build_model(network.space.ops(network.arch), profile, folder, "model")
                known[network.key] = {
                    "network": network.key,
                    "on": on,
                    **footprint_of(path, profile, needed, network.key),
                }
                journal.append(known[network.key])
    found = [known[network.key] for network in networks]
    return [{metric: record[metric] for metric in METRICS if metric in record} for record in found]


def footprint_of(path: Path, profile: Profile, memory_needed: bool, name: str) -> dict[str, float]:
    """File size of a model file, and its peak memory where the profile's device tells it.

    UserError where it does not, and the memory is needed.
    """
    size_mb = {"file_mb": path.stat().st_size / 1e6}
    memory = open_device(profile).peak_memory(path, profile.timing.timeout_s)
    if not memory.error:
        return {**size_mb, "peak_memory_mb": memory.peak_mb}
    if not memory_needed:
        return size_mb
    raise UserError(
        f"the memory of {name} could not be measured on {profile.name}: {memory.error.replace(path.name, name)}; leave "
        f"out {option('max_peak_memory_mb')}, or measure on a device that tells it"
    )


def measure_together(
    files: Mapping[str, Path], profile: Profile, networks: Mapping[str, NetworkId]
) -> dict[str, Measurement]:
    """In one sweep by the profile's protocol, so that a drifting machine is no one's advantage.

    Files as they are, networks with random weights; both by label. UserError where one cannot be measured.
    """
    with scratch() as folder:
        built = {
            label: build_model(network.space.ops(network.arch), profile, folder, f"model{number}")
            for number, (label, network) in enumerate(networks.items())
        }
        paths = {**files, **built}
        with progress(f"measuring {len(paths)} networks in turn") as report:
            table = measure_files(paths, profile, progress=report)
    for label, why in failures(paths, profile, table).items():
        path, name = paths[label], networks[label].key if label in networks else str(paths[label])
        told = why.replace(path.name, name)
        raise UserError(f"{name} could not be measured on {profile.name}: {told}; run the same command again")
    return {label: table[label] for label in paths}


def measured_in_turn_ms(profile: Profile, networks: Sequence[NetworkId]) -> list[float]:
    """Median latency of each, in one sweep: what is compared must not be measured at different times."""
    found = measure_together({}, profile, {network.key: network for network in networks})
    return [found[network.key].median_ms for network in networks]
