"""Settings are chosen by measuring, and the choice is steady."""

import pytest
import torch

from hwnas.nn import compute
from hwnas.nn.compute import Compute, candidates, fastest, name
from hwnas.spaces import SpaceConfig, build_space

SPACE = build_space(SpaceConfig("proxyless_small", 32, 4, width_mult=0.25))


def test_every_candidate_is_timed_and_threads_are_given_back():
    threads = torch.get_num_threads()
    chosen, timings_ms = fastest(SPACE, 8)
    assert chosen in candidates()
    assert set(timings_ms) == {name(c) for c in candidates()}
    assert min(timings_ms.values()) > 0
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("second_ms", "expected"), [(95.0, 0), (80.0, 1)])
def test_only_a_clear_gain_changes_the_usual_settings(monkeypatch, second_ms, expected):
    two = [Compute("cpu", True), Compute("cpu", False)]
    monkeypatch.setattr(compute, "candidates", lambda precision: two)
    monkeypatch.setattr(compute, "timed_step", lambda space, c, batch: lambda: 100.0 if c == two[0] else second_ms)
    assert fastest(SPACE, 8)[0] == two[expected]


def test_precision_is_chosen_from_what_was_asked_for_and_is_safe_otherwise():
    assert all(c.autocast for c in candidates("bf16"))
    assert not any(c.autocast for c in candidates("fp32"))
    assert torch.cuda.is_available() or not any(c.autocast for c in candidates())
