"""Each kind of correction learns what it can, is a plain record, and gives gates what it gives architectures."""

import json

import numpy as np
import pytest
import torch

from hwnas.latency.corrections import CORRECTIONS, DEPTH, FITTED, as_record, from_record, kind_of
from hwnas.latency.corrections import left_out as left_out_of

NAMES = ("a", "b", "constant", "c")
RNG = np.random.default_rng(0)
SHARES = RNG.uniform(0, 1, (60, 4))
SHARES[:, 2] = 0.5


def linear(shares):
    return 0.1 * shares[:, 0] - 0.2 * shares[:, 3]


def bent(shares):
    """More than a line tells: a share counts from a half on."""
    return 0.3 * np.maximum(shares[:, 0] - 0.5, 0)


def combined(correction, shares):
    weights = np.array([[row.get(name, 0.0) for name in NAMES] for row in correction.combinations])
    return shares @ weights.T


@pytest.fixture(params=CORRECTIONS)
def kind(request):
    return request.param


@pytest.mark.parametrize("truth", [linear, bent])
def test_unseen_networks_are_corrected(kind, truth):
    correction = CORRECTIONS[kind].fit(NAMES, SHARES[:40], truth(SHARES[:40]))
    left = correction.logs(combined(correction, SHARES[40:])) - truth(SHARES[40:])
    assert np.abs(left).mean() < 0.6 * np.abs(truth(SHARES[40:]) - truth(SHARES[:40]).mean()).mean()


def test_a_small_network_bends_where_a_line_cannot():
    errors = {}
    for kind in FITTED:
        correction = CORRECTIONS[kind].fit(NAMES, SHARES[:40], bent(SHARES[:40]))
        errors[kind] = np.abs(correction.logs(combined(correction, SHARES[40:])) - bent(SHARES[40:])).mean()
    assert errors["perceptron"] < 0.7 * errors["ridge"]


def test_a_record_gives_the_same_correction(kind):
    correction = CORRECTIONS[kind].fit(NAMES, SHARES, bent(SHARES))
    again = from_record(json.loads(json.dumps(as_record(correction))))
    assert kind_of(again) == kind
    np.testing.assert_array_equal(again.logs(combined(again, SHARES)), correction.logs(combined(correction, SHARES)))
    assert (again.lowest, again.highest) == (bent(SHARES).min(), bent(SHARES).max())


def test_a_record_without_a_kind_is_a_ridge():
    record = {"intercept": 0.1, "weights": {"a": 0.2}, "lowest": -1.0, "highest": 1.0}
    assert from_record(record) == CORRECTIONS["ridge"](**record)


def test_tensors_give_what_arrays_give(kind):
    correction = CORRECTIONS[kind].fit(NAMES, SHARES, bent(SHARES))
    values = torch.tensor(combined(correction, SHARES[:1])[0], requires_grad=True)
    logs = correction.expected_logs(values)
    assert logs.item() == pytest.approx(correction.logs(combined(correction, SHARES[:1]))[0])
    assert logs.requires_grad == (kind != "trees")  # which have steps


def test_a_constant_share_gets_no_weight(kind):
    correction = CORRECTIONS[kind].fit(NAMES, SHARES, bent(SHARES))
    other = SHARES.copy()
    other[:, 2] = 7.0
    np.testing.assert_allclose(
        correction.logs(combined(correction, other)), correction.logs(combined(correction, SHARES))
    )


def test_trees_are_no_deeper_than_they_are_walked():
    correction = CORRECTIONS["trees"].fit(NAMES, SHARES, bent(SHARES))
    at = np.array(correction.roots)
    for _ in range(DEPTH):
        at = np.concatenate([np.array(correction.left)[at], np.array(correction.right)[at]])
    assert (np.array(correction.left)[at] == at).all()


def test_fits_are_the_same_again(kind):
    first, second = (as_record(CORRECTIONS[kind].fit(NAMES, SHARES, bent(SHARES))) for _ in range(2))
    assert first == second


def test_each_network_is_left_out_once():
    found = left_out_of(lambda kept, out: out.astype(float), 23)
    np.testing.assert_array_equal(found, np.arange(23))
