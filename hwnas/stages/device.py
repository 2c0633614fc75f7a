"""device: what the profile's device is, and whether it can be measured, before anything depends on it."""

import math
import statistics
from collections.abc import Iterator

from hwnas.devices import Measurement, load_profile, open_device
from hwnas.errors import UserError
from hwnas.latency.profiler import build_model
from hwnas.spaces import SpaceConfig, build_space, extremes
from hwnas.storage import scratch

TRIED = SpaceConfig("proxyless_small", 32, 10)  # its largest network
ROUNDS = 5


def told(profile_name: str) -> Iterator[tuple[str, str]]:
    """(what, how it is), a fact each; UserError where the device cannot be reached, or runs no model."""
    profile = load_profile(profile_name)
    device = open_device(profile)
    yield "profile", profile.name
    yield from device.describe().items()
    yield (
        "runtime",
        f"{device.runtime_version()}, {profile.dtype}, {profile.threads} of {device.most_threads()} threads",
    )
    conditions = device.conditions()
    yield "temperature", f"{conditions['temperature_c']:.1f} C" if "temperature_c" in conditions else "not told"
    share = conditions.get("frequency_share")
    yield "clock rate", "not told" if share is None else f"{100 * share:.0f} % of the highest"
    space = build_space(TRIED)
    with scratch() as folder, device.session() as session:
        model = build_model(space.ops(extremes(space)[1]), profile, folder, "network")
        rounds = []
        for _ in range(ROUNDS):
            rounds.append(_sound_ms(session.measure(model, profile.timing.run_config())))
            session.renew()
        memory = device.peak_memory(model, profile.timing.timeout_s)
    middle_ms = statistics.median(rounds)
    spread_pct = 100 * (max(rounds) - min(rounds)) / middle_ms
    yield "a network", f"{middle_ms:.4g} ms; {ROUNDS} processes differ by {spread_pct:.1f} % ({space.name}'s largest)"
    loaded = "" if math.isnan(memory.load_ms) else f"; loaded in {memory.load_ms:.0f} ms"
    yield "its memory", memory.error or f"{memory.peak_mb:.1f} MB{loaded}"


def _sound_ms(found: Measurement) -> float:
    if found.error:
        raise UserError(f"the device cannot measure a network: {found.error}")
    return found.median_ms
