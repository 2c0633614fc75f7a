"""select: measures the front's best candidates whole, and picks the winner and the baselines it is compared with."""

import functools
from collections.abc import Callable

from hwnas.devices import Measurement, load_profile
from hwnas.errors import UserError
from hwnas.objective import SAME_LATENCY
from hwnas.spaces import PUBLISHED, Space, SpaceConfig, build_space, published_arch
from hwnas.stages.finals import in_order, needed_front
from hwnas.stages.limits import TOLERANCE_PCT, broken_limit
from hwnas.stages.networks import (
    CANDIDATES,
    NetworkId,
    measured_footprints,
    measured_in_turn_ms,
    measured_ms,
    network_of,
    own_network,
)
from hwnas.stages.patience import JUDGED, Seen, sentinel_of, settled
from hwnas.stages.predictor import load_budget_ms
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.storage import Record, read_json
from hwnas.train import Judged

AGAIN = 1  # sweeps more before a candidate gives way to the next
NEAR = 3  # widths on either side of where the bisection ends
WIDTHS = [round(0.1 + 0.02 * step, 2) for step in range(121)]  # of published networks: 0.1 to 2.5


def rejected_archs(run: Run) -> dict[tuple[int, ...], Record]:
    """Candidates whose exported model broke a limit, from `measure.json`."""
    if not run.file("measure.json").exists():
        return {}
    return {tuple(a["arch"]): a for a in read_json(run.file("measure.json"))["attempts"]}


def run_stage(run: Run) -> None:
    """Writes `selection.json`; UserError where no candidate keeps the budget when measured."""
    found, budget_ms, space = needed_front(run), load_budget_ms(run), run.space
    at_random = in_order(found, at_random=True)
    attempts: list[Record] = []
    rejected = rejected_archs(run)
    settled_ms = functools.cache(functools.partial(_settled_ms, run, budget_ms))  # random search's best may be the same
    first_within = functools.partial(_first_within, run, space, budget_ms, settled_ms)

    def candidates(trials: list[Record]) -> list[Record]:
        left = [t for t in trials if tuple(t["arch"]) not in rejected]
        return left[: max(0, run.config.attempts - len(rejected))]

    winner = first_within(candidates(in_order(found)), "winner", attempts)
    if winner is None:
        raise UserError(
            f"none of the {len(attempts) + len(rejected)} best candidates keeps the budget of {budget_ms:.4g} ms and "
            f"the other limits within {TOLERANCE_PCT} % when measured; give more --attempts, or measure anew on a "
            f"quiet machine: delete {run.file(CANDIDATES)} and run `hwnas select`"
        )
    random_best = first_within(candidates(at_random), "random", [])
    if random_best is None:
        say("none of the best random candidates keeps the budget when measured: the most accurate is compared anyway")
        random_best = _measured(run, space, at_random[0], "random")
    published = {name: as_fast_as(run, space, winner, name) for name in run.config.published}
    networks = {"winner": winner, "random": random_best, **published}
    run.write("selection.json", {**networks, "attempts": attempts})
    for network in networks.values():
        say(
            f"{network['label']}: measured {network['measured_ms']:.4g} ms, {network['macs'] / 1e6:.1f} M multiply-adds"
        )


def _first_within(
    run: Run,
    space: Space,
    budget_ms: float,
    settled_ms: Callable[[NetworkId, float, float], float],  # as `_settled_ms`
    candidates: list[Record],
    label: str,
    attempts: list[Record],
) -> Record | None:
    """The first trial whose measured latency keeps the budget; those that do not are added to `attempts`."""
    for trial in candidates:
        record = _measured(run, space, trial, label)
        record["measured_ms"] = settled_ms(network_of(run, record), record["measured_ms"], record["predicted_ms"])
        broken = broken_limit(run.config, budget_ms, record["measured_ms"], record)
        if not broken:
            return record
        attempts.append(record)
        say(f"measured, a candidate predicted at {record['predicted_ms']:.4g} ms fails: {broken}; taking the next")
    return None


def _measured(run: Run, space: Space, trial: Record, label: str) -> Record:
    """A trial as `selection.json` holds it, measured whole."""
    network = own_network(run, space, tuple(trial["arch"]))
    with progress(f"measuring {label}") as report:
        (ms,) = measured_ms(run, [network], report, CANDIDATES)
        (footprint,) = measured_footprints(run, [network], report)
    judged = {f"supernet_{name}": trial[name] for name in Judged._fields}
    return network.describe(label, **judged, predicted_ms=trial["latency_ms"], measured_ms=ms, **footprint)


def _settled_ms(run: Run, budget_ms: float, network: NetworkId, measured_ms: float, predicted_ms: float) -> float:
    """`measured_ms`, or what the network takes in another sweep, if it broke the budget."""
    profile, sentinel = load_profile(run.config.on), sentinel_of(run, network, budget_ms)

    def again() -> Seen:
        return sentinel.sweep({}, {JUDGED: network}, profile)

    first = Seen({JUDGED: Measurement((measured_ms,))})
    what = f"measured, a candidate predicted at {predicted_ms:.4g} ms"
    return settled(first, again, budget_ms, profile, AGAIN, what).ms


def as_fast_as(run: Run, space: Space, winner: Record, name: str) -> Record:
    """The published network at the width whose measured latency is nearest to the winner's: bisection over widths.

    The last few widths and the winner are measured again, in turn: a machine is not equally fast all the time.
    """
    networks, target_ms, title = distinct_widths(space, name), winner["measured_ms"], PUBLISHED[name].title
    low, high = 0, len(networks) - 1
    with progress(f"measuring {title} widths") as report:

        def width_ms(index: int) -> float:
            return measured_ms(run, [networks[index]], report, CANDIDATES)[0]

        while high - low > 1:  # halves every time
            middle = (low + high) // 2
            low, high = (middle, high) if width_ms(middle) < target_ms else (low, middle)
    near = networks[max(0, low - NEAR) : high + 1 + NEAR]  # latency is not quite monotone in width
    target_ms, *near_ms = measured_in_turn_ms(load_profile(run.config.on), [network_of(run, winner), *near])
    ms, best = min(zip(near_ms, near, strict=True), key=lambda found: abs(found[0] - target_ms))
    if abs(ms / target_ms - 1) > SAME_LATENCY:
        say(f"no width of {title} is as fast as the winner ({target_ms:.4g} ms): the nearest takes {ms:.4g} ms")
    with progress("measuring its memory") as report:
        (footprint,) = measured_footprints(run, [best], report)
    unknown = {f"supernet_{judged}": None for judged in Judged._fields}
    return best.describe(name, **unknown, predicted_ms=None, measured_ms=ms, **footprint)


def distinct_widths(space: Space, name: str) -> list[NetworkId]:
    """A published network at every width that differs in some channel number, narrowest first."""
    networks: dict[tuple[str, ...], NetworkId] = {}
    for width in WIDTHS:
        config = SpaceConfig(PUBLISHED[name].space, space.input_shape[1], space.num_classes, width)
        chain = build_space(config)
        arch = published_arch(name, chain)
        networks.setdefault(tuple(map(str, chain.ops(arch))), NetworkId(config, arch))
    return list(networks.values())
