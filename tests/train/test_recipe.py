"""Schedule, weight decay and averaging."""

import pytest
import torch

from hwnas.train.recipe import Ema, Recipe, optimizer


def test_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(lr=0.1, batch_size=64, warmup_share=0.1)
    assert recipe.lr_at(0.05) == pytest.approx(0.025)
    assert recipe.lr_at(0.1) == pytest.approx(0.05)  # half of the batch that 0.1 is meant for
    assert recipe.lr_at(0.55) == pytest.approx(0.025)
    assert recipe.lr_at(1.0) == pytest.approx(0.0)


def test_scales_and_biases_are_not_decayed():
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    decayed, free = optimizer(Recipe(weight_decay=0.5), module).param_groups
    assert [p.ndim for p in decayed["params"]] == [2]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.5, 0.0)


def test_the_average_follows_quickly_at_first_then_slowly():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    ema = Ema(module, decay=0.9)
    torch.nn.init.ones_(module.weight)
    ema.update(module)
    assert ema.shadow["weight"].item() == pytest.approx(1 - 2 / 11)
    for _ in range(200):
        ema.update(module)
    torch.nn.init.zeros_(module.weight)
    ema.update(module)
    assert ema.shadow["weight"].item() == pytest.approx(0.9, abs=1e-3)
