"""Fine-tuning for int8: interrupted or not it ends with the same bits, and the original weights stay."""

import copy

import pytest
import torch
from shared_training import CPU, images_of, interrupted_after_every_step
from torch import nn

from hwnas.train import Normalisation, Recipe, eval_images, int8_recipe, int8_training, normalise


def network():
    torch.manual_seed(0)
    conv = (nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6))
    return nn.Sequential(*conv, nn.Flatten(), nn.Dropout(0.5), nn.Linear(6 * 6 * 6, 4)).eval()


def training_in(folder, module, epochs=2):
    calibration = normalise(eval_images(images_of(64), 16, 0, 24))
    recipe = int8_recipe(Recipe(batch_size=16, flip=False, lr=0.2), epochs, 64)
    files = (folder / "int8.pt", folder / "int8.jsonl")
    own = Normalisation((0.5,) * 3, (0.5,) * 3)
    return int8_training(module, images_of(64), 16, own, calibration, recipe, CPU, 3, *files)


def test_interrupted_at_any_step_it_ends_with_the_same_bits(tmp_path):
    whole, expected = training_in(tmp_path / "whole", network())
    whole.run()

    def interrupted(part):
        assert part.checkpoint.exists()

    part, found = interrupted_after_every_step(lambda: training_in(tmp_path / "part", network()), interrupted)
    assert part.epoch == 2
    for name, value in part.module.state_dict().items():  # ranges too
        assert torch.equal(value, whole.module.state_dict()[name]), name
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_a_copy_is_trained_and_what_is_no_parameter_stays(tmp_path):
    module = network()
    before = copy.deepcopy(module.state_dict())
    training, tuned = training_in(tmp_path, module, epochs=1)
    training.run()
    moved = {name for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert moved == {name for name, _ in module.named_parameters()}


def test_ranges_are_those_of_the_weights_at_the_end_of_every_epoch(tmp_path):
    training, tuned = training_in(tmp_path, network(), epochs=1)
    calibration = normalise(eval_images(images_of(64), 16, 0, 24))
    at_first = training.module.state_dict()["graph.steps_of_relu.high"].clone()
    training.run()
    with torch.no_grad():
        expected = tuned[:3](calibration).amax()
    found = training.module.state_dict()["graph.steps_of_relu.high"]
    torch.testing.assert_close(found, expected)
    assert found != at_first


def test_the_networks_own_normalisation_is_undone_from_the_loops():
    pixels = images_of(4).images
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    found = Normalisation(mean, std).of(normalise(torch.from_numpy(pixels)))
    expected = (pixels[:, 2] / 255 - 0.6) / 0.4
    torch.testing.assert_close(found[:, 2], torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.2), ("adamw", 0.004)])
def test_the_rate_follows_the_recipes(optimizer, lr):
    recipe = int8_recipe(Recipe(optimizer=optimizer, lr=lr, batch_size=64), epochs=3, images=40)
    assert (recipe.optimizer, recipe.batch_size, recipe.epochs) == ("adamw", 40, 3)
    assert recipe.lr == pytest.approx(0.004)
