"""What int8 leaves of weights and activations, and that it can be trained through."""

import copy

import pytest
import torch
from torch import nn

from hwnas.nn import Network
from hwnas.nn.ops import BlockModule
from hwnas.spaces import SpaceConfig, build_space, extremes, op
from hwnas.spaces.operators import block
from hwnas.train.fake_int8 import ActivationSteps, BiasSteps, FakeInt8, WeightSteps

IMAGES = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Residual(nn.Module):
    """A ReLU read twice, a batch norm without a convolution, a concatenation, a mean pool and a sum."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.alone = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = nn.functional.relu_(self.norm(self.first(x)))
        y = nn.functional.avg_pool2d(self.alone(self.second(x)) + x, 2)
        return self.head(torch.cat([y, nn.functional.max_pool2d(x, 2)], 1).mean((2, 3)))


def residual():
    torch.manual_seed(0)
    module = Residual()
    with torch.no_grad():
        for _ in range(3):
            module.train()(IMAGES)  # statistics that are not the initial ones
    return module.eval()


def of_space(name):
    torch.manual_seed(0)
    space = build_space(SpaceConfig(name, 16, 4, width_mult=0.25))
    return Network(space, extremes(space)[0]).eval()


@pytest.mark.parametrize("module", [residual(), of_space("nas_bench_macro")], ids=["residual", "nas_bench_macro"])
def test_without_rounding_it_computes_what_the_module_computes(module):
    """Batch norms are folded rightly."""
    fake = FakeInt8(copy.deepcopy(module), IMAGES[:4])
    fake._set_watching(True)
    with torch.no_grad():
        torch.testing.assert_close(fake.logits(IMAGES), module(IMAGES), rtol=1e-4, atol=1e-4)


def test_what_is_rounded_is_what_a_file_holds():
    fake = FakeInt8(residual(), IMAGES[:4])
    names = {name for name, _ in fake.graph.named_children() if name.startswith("steps_of_")}
    # not the convolution before the ReLU, and the sum's steps serve the mean pool, whose reader has its own
    assert names == {f"steps_of_{n}" for n in ("x", "relu_", "conv2d_default_1", "add", "cat", "mean", "linear")} | {
        "steps_of_weights",
        "steps_of_biases",
    }


def test_a_resized_image_keeps_the_steps_of_the_image():
    module = nn.Sequential(BlockModule(block(op("resize", (3, 16, 16), 3, r=12))), nn.Conv2d(3, 4, 3))
    fake = FakeInt8(module, IMAGES[:4])
    fake.watch(IMAGES)
    step = float(fake.graph.steps_of_input_1.high - fake.graph.steps_of_input_1.low) / 255
    (resized,) = [node for node in fake.graph.graph.nodes if "upsample" in node.name]
    (rounding,) = resized.users
    assert rounding.target == "steps_of_input_1"
    assert step == pytest.approx(2 / 255, rel=0.01)


def test_an_activation_has_256_steps_between_its_ends_and_zero_is_one_of_them():
    steps = ActivationSteps(torch.device("cpu"))
    steps.is_watching = True
    x = torch.tensor([-1.0, 0.0, 0.3, 2.0])
    assert steps(x) is x
    steps.is_watching = False
    step = 3 / 255
    found = steps(torch.tensor([0.0, 20.4 * step, 21.4 * step, 5.0, -5.0]))
    assert found[0] == 0
    assert float(found[2] - found[1]) == pytest.approx(step, rel=1e-4)
    assert float(found[3]) == pytest.approx(2.0, abs=step)
    assert float(found[4]) == pytest.approx(-1.0, abs=step)


def test_every_output_channel_of_a_weight_has_steps_of_its_own():
    weight = torch.tensor([[1.0, 0.004], [100.0, 0.3], [0.0, 0.0]])
    found = WeightSteps()(weight)
    torch.testing.assert_close(found, torch.tensor([[1.0, 1 / 127], [100.0, 0.0], [0.0, 0.0]]))


def test_a_bias_is_rounded_to_products_of_steps_and_keeps_its_gradient():
    bias = torch.tensor([0.3], requires_grad=True)
    found = BiasSteps()(bias, torch.tensor([[1.27]]), torch.tensor(-2.55), torch.tensor(0.0))  # 0.01 each
    torch.testing.assert_close(found, torch.tensor([0.3]), rtol=0, atol=1e-6)
    torch.testing.assert_close(BiasSteps()(bias + 6e-5, *_steps()), torch.tensor([0.3001]), rtol=0, atol=1e-6)
    found.sum().backward()
    assert bias.grad == 1


def _steps():
    return torch.tensor([[1.27]]), torch.tensor(-2.55), torch.tensor(0.0)


def test_gradients_pass_the_rounding_to_the_parameters_that_it_shares_with_the_module():
    module = residual()
    fake = FakeInt8(module, IMAGES[:4])
    fake.watch(IMAGES)
    fake.train()(IMAGES[:4]).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert not module.norm.training


def test_a_last_batch_that_is_not_full_counts_no_image_twice():
    fake = FakeInt8(residual(), IMAGES[:5])
    fake.watch(IMAGES[:7])
    whole = FakeInt8(residual(), IMAGES[:7])
    whole.watch(IMAGES[:7])
    assert fake.logits(IMAGES).shape == (12, 4)
    torch.testing.assert_close(fake.graph.steps_of_add.high, whole.graph.steps_of_add.high)
    torch.testing.assert_close(fake.logits(IMAGES), whole.logits(IMAGES), rtol=0, atol=0.05)
