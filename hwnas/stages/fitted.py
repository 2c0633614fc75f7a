"""Whether `predictor.json` still follows from what is measured.

A table may be shared: another run measures into it, of other widths say, between two commands of this one. That moves
the medians of all rows a little, as they tell each other how fast the machine was, and with them the choice of networks
and a whole predictor. What was fitted once therefore stays, as long as nothing of what it was fitted on changed.
"""

from collections.abc import Iterable, Mapping

from hwnas.devices import load_profile
from hwnas.latency.profiler import rows_to_measure, rows_without_prediction, unfinished
from hwnas.latency.table import LatencyTable
from hwnas.spaces import Space
from hwnas.stages.networks import network_table, own_network
from hwnas.stages.run import Run
from hwnas.storage import Record, read_json

PREDICTOR = "predictor.json"
COMES_OF_IT = ("supernet.pt", "trials.jsonl")  # hours, which another predictor would make worthless


def made_from(run: Run, space: Space, table: LatencyTable, archs: Iterable[Iterable[int]], guessed: bool) -> Record:
    """What `predictor.json` notes of the rows and networks that it is fitted on; a guess follows from every row."""
    needed = rows_to_measure(space) if run.config.has_table else {}
    rows = {**dict.fromkeys(needed), **(dict.fromkeys(table) if guessed else {})}
    measured = network_table(run)
    networks = [own_network(run, space, tuple(arch)).key for arch in archs]
    return {
        "rows": {key: table.fingerprint(key) for key in rows},
        "networks": {key: measured.fingerprint(key) for key in networks},
    }


def rows_to_go(run: Run, space: Space, table: LatencyTable) -> list[str]:
    """The rows that a run still measures; where its predictor stays, only those that are not there."""
    profile, rows = load_profile(run.config.on), rows_without_prediction(space, table)
    if predictor_stays(run, table)[0]:
        return table.missing(rows, profile.timing.rounds)
    return unfinished(rows, profile, table)


def changes(run: Run, table: LatencyTable) -> list[str]:
    """What changed of that which `predictor.json` was fitted on, as `ROW: 0.0123 ms then, 0.0131 ms now`.

    Nothing is known of one that does not note it, and so nothing changed.
    """
    record = read_json(run.file(PREDICTOR))
    noted = record.get("made_from", {"rows": {}, "networks": {}})
    networks_ms = (float(network["measured_ms"]) for network in record["networks"])
    then_ms = {**record["op_ms"], **dict(zip(noted["networks"], networks_ms, strict=False))}
    found = []
    for kind, now in (("rows", table), ("networks", network_table(run))):
        found += [_told(key, then_ms, now) for key, then in noted[kind].items() if now.fingerprint(key) != then]
    return found


def _told(key: str, then_ms: Mapping[str, float], now: LatencyTable) -> str:
    then = f"{then_ms[key]:.4g} ms then" if key in then_ms else "other times then"
    return f"{key}: {then}, {f'{now[key].median_ms:.4g} ms' if key in now else 'not there'} now"


def predictor_stays(run: Run, table: LatencyTable) -> tuple[bool, str]:
    """(Whether the predictor that is there stays, why); a search that came of it would be worthless else."""
    if not run.file(PREDICTOR).exists():
        return False, ""
    changed, came = changes(run, table), [name for name in COMES_OF_IT if run.file(name).exists()]
    if not changed:
        return True, f"{run.file(PREDICTOR)} is there, and nothing that it was fitted on has changed: it stays as it is"
    told = f"{len(changed)} of the measurements that {run.file(PREDICTOR)} was fitted on changed, first {changed[0]}"
    if came:
        names = " and ".join(came)
        return True, f"{told}; it stays as it is, as {names} came of it: delete all of these to fit and search anew"
    return False, f"{told}; it is fitted anew"
