"""Which whole networks a predictor is fitted on, and others in place of those that cannot be measured."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hwnas.devices import load_profile
from hwnas.latency import TablePredictor, fastest_and_slowest
from hwnas.latency.profiler import check_measured, failures
from hwnas.spaces import Arch, Space
from hwnas.spaces.space import sees_image
from hwnas.stages.networks import CALIBRATION, NETWORKS, measure_networks, own_network
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say

CANDIDATES_PER_NETWORK = 20
SET_ASIDE = "set_aside.jsonl"  # networks that could not be measured, each once
REPLACED_SHARE = 4  # at most one of so many networks is replaced: with more, the device is what to look at
Choose = Callable[[Collection[Arch]], tuple[list[Arch], list[Arch]]]  # without these: (spread, drawn)


def calibration_archs(
    predictor: TablePredictor, count: int, seed: int, aside: Collection[Arch] = ()
) -> tuple[list[Arch], list[Arch]]:
    """(one half spread over the latencies of the space, as a fit must hold at both ends; the other half at random).

    Random, as an interval promises its coverage for networks that are drawn as those were that it comes from. A network
    that does not look at its image is a constant, and tells nothing of the device. None is one of `aside`.
    """
    rng = random.Random(f"fit/{seed}")
    spread = spread_over_latency(predictor, count - count // 2, rng, aside)
    samples = (predictor.space.sample(rng) for _ in range(count // 2 * CANDIDATES_PER_NETWORK))
    free = (arch for arch in _telling(predictor.space, samples) if arch not in aside and arch not in spread)
    drawn = dict[Arch, None]()
    while len(drawn) < count // 2 and (arch := next(free, None)) is not None:
        drawn[arch] = None
    return spread, list(drawn)


def spread_over_latency(
    predictor: TablePredictor, count: int, rng: random.Random, aside: Collection[Arch] = ()
) -> list[Arch]:
    """The fastest architecture, the slowest, and random ones at even steps of the logarithm of predicted latency.

    Logarithm, as relative errors are what is minimised. The ends themselves: a sum that suits the networks which it was
    fitted on may be off by any factor beyond them. In place of one of `aside` comes the nearest to its step of the
    others.
    """
    ends = fastest_and_slowest(predictor)
    pool = [*ends, *(predictor.space.sample(rng) for _ in range(count * CANDIDATES_PER_NETWORK))]
    pool += [_between(*ends, share, rng) for share in (i / len(pool) for i in range(len(pool)))]
    pool = sorted(_telling(predictor.space, set(pool)))
    log_ms, chosen = np.log(predictor.latency_ms(pool)), list[int]()
    steps = np.linspace(log_ms.min(), log_ms.max(), min(count, len(pool)))
    for wanted in steps:
        chosen.append(_nearest(log_ms, wanted, chosen))
    barred = [i for i, arch in enumerate(pool) if arch in aside]
    for number, wanted in enumerate(steps if len(barred) + count <= len(pool) else ()):
        if pool[chosen[number]] in aside:  # the others stay: they are measured already
            chosen[number] = _nearest(log_ms, wanted, [*chosen, *barred])
    return [arch for arch in (pool[i] for i in chosen) if arch not in aside]


def _nearest(log_ms: NDArray[np.float64], wanted: float, taken: Collection[int]) -> int:
    distance = np.abs(log_ms - wanted)
    distance[list(taken)] = np.inf
    return int(distance.argmin())


def _telling(space: Space, archs: Iterable[Arch]) -> Iterator[Arch]:
    """Those of networks that look at their image."""
    return (arch for arch in archs if sees_image(space.steps(arch)))


def _between(fast: Arch, slow: Arch, share: float, rng: random.Random) -> Arch:
    """Every decision from `slow` with probability `share`, else from `fast`."""
    return tuple(s if rng.random() < share else f for f, s in zip(fast, slow, strict=True))


def measured_networks(run: Run, space: Space, choose: Choose) -> tuple[list[Arch], list[float], int]:
    """(networks, milliseconds of each, how many, the last ones, were drawn at random).

    What fails or does not settle is set aside, by name, and another network takes its place. `set_aside.jsonl` keeps
    which ones were, so a run that goes on takes the same others. Bounded, as each turn sets one aside at least;
    UserError, as for any sweep, where more fail than may be replaced.
    """
    journal, most = run.journal(SET_ASIDE), max(1, run.config.calibration_networks // REPLACED_SHARE)
    profile = load_profile(run.config.on)
    for _ in range(most + 1):
        spread, drawn = choose({tuple(record["arch"]) for record in journal.records})
        networks = {network.key: network for network in (own_network(run, space, arch) for arch in (*spread, *drawn))}
        with progress("measuring whole networks") as report:
            table = measure_networks(run, list(networks.values()), report, CALIBRATION)
        failed = failures(networks, profile, table)
        if not failed or len(journal.records) + len(failed) > most:
            break
        for key, why in failed.items():
            journal.append({"network": key, "arch": list(networks[key].arch), "reason": why})
            say(f"{key} is set aside, as it could not be measured: {why}; another network takes its place")
    check_measured(networks, profile, table, NETWORKS)
    return [*spread, *drawn], [table[key].median_ms for key in networks], len(drawn)
