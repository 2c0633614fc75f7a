"""Spaces as data: identities, bounds, sampling."""

import random

import pytest

from hwnas.errors import UserError
from hwnas.spaces import SPACES, Decision, OpSpec, Slot, Space, SpaceConfig, build_space, op


def test_row_key_names_every_shape():
    assert str(op("ir", (16, 112, 112), 24, 2, k=3, e=6)) == "ir-16x112x112-24-s2-e6-k3"


@pytest.mark.parametrize("name", SPACES)
def test_a_row_key_tells_its_operator(name):
    for spec in build_space(SpaceConfig(name, 64, 10)).all_ops():
        assert OpSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("key", ["", "ir", "ir-16x112-24-s2", "ir-16x112x112-24-s2-e", "2.0.1.4"])
def test_what_is_no_row_key_is_refused(key):
    with pytest.raises(ValueError, match="no row key"):
        OpSpec.parse(key)


def test_a_decision_with_one_choice_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        Space("s", (3, 8, 8), 2, (Decision("d", ("only",)),), (Slot((op("skip", (3, 8, 8), 3),), (0,)),))


def test_a_slot_needs_an_option_per_choice():
    with pytest.raises(ValueError, match="1 options, its decisions need 2"):
        Space("s", (3, 8, 8), 2, (Decision("d", ("a", "b")),), (Slot((op("skip", (3, 8, 8), 3),), (0,)),))


def test_two_decisions_pick_row_major():
    shape = (4, 8, 8)
    options = tuple(op("ir", shape, 4, e=e, k=k) for e in (3, 6) for k in (3, 5, 7))
    space = Space("s", shape, 2, (Decision("e", ("3", "6")), Decision("k", ("3", "5", "7"))), (Slot(options, (0, 1)),))
    assert str(space.ops((1, 2))[0]) == "ir-4x8x8-4-s1-e6-k7"
    assert space.option(space.slots[0], {1: 2, 0: 1}) == space.option(space.slots[0], (1, 2)) == 5


def test_check_tells_both_numbers():
    space = build_space(SpaceConfig("proxyless_small", 32, 10))
    with pytest.raises(ValueError, match="has 12 decisions, the architecture has 3"):
        space.check((0, 0, 0))
    with pytest.raises(ValueError, match="choice 9 is outside"):
        space.check((9,) * 12)


def test_mutation_always_changes_and_stays_legal():
    space, rng = build_space(SpaceConfig("proxyless_small", 32, 10)), random.Random(0)
    arch = space.sample(rng)
    for probability in (0.0, 0.1, 1.0):
        for _ in range(50):
            changed = space.mutate(arch, rng, probability)
            space.check(changed)
            assert changed != arch


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SpaceConfig("proxyles", 224, 10), "did you mean proxyless"),
        (SpaceConfig("proxyless", 4, 10), "at least 8 pixels"),
        (SpaceConfig("proxyless", 224, 1), "at least 2 classes"),
        (SpaceConfig("proxyless", 224, 10, 99.0), "width of 0.05 to 4"),
    ],
)
def test_bad_configs_say_what_is_allowed(config, message):
    with pytest.raises(UserError, match=message):
        build_space(config)
