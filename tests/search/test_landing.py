"""What is said of the budget: where probabilities landed, and what is delivered instead."""

import pytest

from hwnas.search import landing_told

RANDOM = {"strategy": "random", "arch": [0, 1], "likelihood": 0.61, "latency_ms": 0.3, "latency_upper_ms": 0.33}
FIRST = {"strategy": "sampled", "arch": [1, 1], "likelihood": 0.55, "latency_ms": 0.36, "latency_upper_ms": 0.396}
SECOND = {"strategy": "sampled", "arch": [1, 0], "likelihood": 0.5, "latency_ms": 0.2, "latency_upper_ms": 0.22}


@pytest.mark.parametrize(
    ("trials", "delivered", "told"),
    [
        ([RANDOM], RANDOM, "What is delivered is predicted at 0.3 ms (82.5 % of the budget with its margin)."),
        (
            [RANDOM, FIRST, SECOND],
            FIRST | {"arch": (1, 1)},
            "What is delivered is predicted at 0.36 ms (99.0 % of the budget with its margin): the network that the "
            "trained probabilities landed on.",
        ),
        (
            [RANDOM, FIRST, SECOND],
            SECOND,
            "The trained probabilities landed on a network that is predicted at 0.36 ms (99.0 % of the budget with its "
            "margin). What is delivered is predicted at 0.2 ms (55.0 % of the budget with its margin): the first by "
            "rank that keeps the limits when measured, ranked by 0.5000 against 0.5500.",
        ),
        (
            [RANDOM, FIRST, SECOND],
            RANDOM,
            "The trained probabilities landed on a network that is predicted at 0.36 ms (99.0 % of the budget with its "
            "margin). What is delivered is predicted at 0.3 ms (82.5 % of the budget with its margin): another "
            "candidate, ranked by 0.6100 against 0.5500.",
        ),
    ],
)
def test_both_figures_are_told_and_why_another_one_is_delivered(trials, delivered, told):
    assert landing_told(trials, delivered, 0.4) == told


def test_a_finalist_is_said_to_be_chosen_by_its_training():
    landed, other = ({"strategy": "sampled", "arch": [n], "latency_ms": 0.3, "latency_upper_ms": 0.36} for n in (0, 1))
    judged = [{**landed, "likelihood": 0.55}, {**other, "likelihood": 0.5}]
    told = landing_told(judged, judged[1], 0.4, [judged[1]])
    assert told.endswith("(90.0 % of the budget with its margin): a finalist, by its training.")
    assert "ranked by" in landing_told(judged, judged[1], 0.4)


def test_what_was_as_likely_is_said_to_be_larger():
    landed = {"strategy": "sampled", "arch": [0], "latency_ms": 0.3, "latency_upper_ms": 0.36, "macs": 1e7}
    judged = [{**landed, "likelihood": 0.55}, {**landed, "arch": [1], "likelihood": 0.54, "macs": 1.2e7}]
    told = landing_told(judged, judged[1], 0.4, ties_from=0.53)
    assert told.endswith("as likely as far as the super-network tells, with 12 instead of 10 million multiply-adds.")
    assert "ranked by" in landing_told([{**judged[0], "macs": 2e7}, judged[1]], judged[1], 0.4, ties_from=0.53)
    assert "ranked by" in landing_told([{**judged[0], "likelihood": 0.5}, judged[1]], judged[1], 0.4, ties_from=0.53)
