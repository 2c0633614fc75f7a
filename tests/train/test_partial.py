import copy

import pytest
import torch
from torch import nn

from hwnas.train import partial

FIRST, REST = ((0, 2), (0, 3)), ((2, 4), (0, 3))
OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.1),
}


def with_gradient(parameter, seed):
    parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))


def test_parts_move_as_parameters_of_their_own_would():
    whole = nn.Parameter(torch.randn(4, 3))
    alone = {region: nn.Parameter(whole.detach()[slice(*region[0])].clone()) for region in (FIRST, REST)}
    optimizer, reference = OPTIMIZERS["sgd"]([whole]), OPTIMIZERS["sgd"](list(alone.values()))
    for number, used in enumerate([{FIRST}, {FIRST}, {REST}, {FIRST, REST}, {REST}, {((0, 4), (0, 3))}]):
        with_gradient(whole, number)
        together = used == {((0, 4), (0, 3))}
        for region, own in alone.items():
            own.grad = whole.grad[slice(*region[0])].clone() if together or region in used else None
        partial.step(optimizer, {whole: used})
        reference.step()
        torch.testing.assert_close(whole.detach(), torch.cat(list(alone.values())).detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("is_first_step", [True, False])
def test_what_no_region_holds_stays_and_so_does_its_state(name, is_first_step):
    whole, beside = nn.Parameter(torch.randn(4, 5, 5)), nn.Parameter(torch.randn(3))
    optimizer = OPTIMIZERS[name]([{"params": [whole]}, {"params": [beside], "weight_decay": 0.0}])
    if not is_first_step:
        with_gradient(whole, 0)
        optimizer.step()
    corner, centre = ((0, 2), (0, 5), (0, 5)), ((0, 4), (1, 4), (1, 4))  # neither holds the other
    idle = torch.ones(4, 5, 5, dtype=torch.bool)
    idle[:2], idle[:, 1:4, 1:4] = False, False
    before, state = whole.detach().clone(), copy.deepcopy(optimizer.state.get(whole, {}))
    with_gradient(whole, 1)
    with_gradient(beside, 2)
    kept_beside = beside.detach().clone()
    partial.step(optimizer, {whole: {corner, centre}})
    assert torch.equal(whole[idle], before[idle])
    assert not (whole == before)[~idle].any()
    assert not (beside == kept_beside).any()
    assert set(optimizer.state) == {whole, beside}
    for key, value in optimizer.state[whole].items():
        if torch.is_tensor(value) and value.shape == whole.shape:
            assert torch.equal(value[idle], state[key][idle] if state else torch.zeros(int(idle.sum())))
            assert value[~idle].all()
    assert [group["params"] for group in optimizer.param_groups] == [[whole], [beside]]


def test_the_state_survives_saving_and_loading():
    whole = nn.Parameter(torch.randn(4, 3))
    other, optimizer = nn.Parameter(whole.detach().clone()), OPTIMIZERS["sgd"]([whole])
    with_gradient(whole, 0)
    partial.step(optimizer, {whole: {FIRST}})
    resumed = OPTIMIZERS["sgd"]([other])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.data.copy_(whole.data)
    for parameter, own in ((whole, optimizer), (other, resumed)):
        with_gradient(parameter, 1)
        partial.step(own, {parameter: {((1, 4), (0, 3))}})
    assert torch.equal(whole, other)


def test_a_parameter_without_a_gradient_or_all_of_whose_parts_ran_is_left_to_the_optimizer():
    idle, busy = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4, 3))
    optimizer = OPTIMIZERS["sgd"]([idle, busy])
    before, expected = idle.detach().clone(), nn.Parameter(busy.detach().clone())
    with_gradient(busy, 0)
    with_gradient(expected, 0)
    partial.step(optimizer, {idle: {FIRST}, busy: {FIRST, ((0, 4), (0, 3))}})
    OPTIMIZERS["sgd"]([expected]).step()
    assert torch.equal(idle, before)
    assert torch.equal(busy, expected)
    assert set(optimizer.state) == {busy}
