"""The running average is diffusers' own, and the trained weights are restored bit for bit after the averaged weights were used."""

import pytest
import torch
from diffusers.training_utils import EMAModel

from library.errors import TrainerError
from library.optim.averaging import Average, decay_at, weights_for_use


def step(layer, number):
    random = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += torch.randn(parameter.shape, generator=random)


def weights(layer):
    return [parameter.detach().clone() for parameter in layer.parameters()]


def test_average_equals_diffusers():
    layer = torch.nn.Linear(4, 3)
    ours, theirs = Average(layer, 0.6), EMAModel(layer.parameters(), decay=0.6)
    for number in range(1, 30):
        step(layer, number)
        ours.update(number)
        theirs.step(layer.parameters())
    assert decay_at(29, 0.6) == 0.6 > decay_at(3, 0.6) > decay_at(1, 0.6) == 0
    for mine, other in zip(ours.tensors().values(), theirs.shadow_params, strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_averaged_weights_are_swapped_in_and_out():
    layer, optimizer = torch.nn.Linear(4, 3), torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    average = Average(layer, 0.5)
    for number in (1, 2, 3):
        step(layer, number)
        average.update(number)
    trained = weights(layer)
    with pytest.raises(KeyError), weights_for_use(layer, optimizer, average):
        assert all(torch.equal(a, b) for a, b in zip(weights(layer), average.tensors().values(), strict=True))
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(weights(layer), trained, strict=True))
    with weights_for_use(layer, optimizer, None):
        assert all(torch.equal(a, b) for a, b in zip(weights(layer), trained, strict=True))


def test_schedule_free_optimizer_provides_its_average():
    make = pytest.importorskip("schedulefree").AdamWScheduleFree
    layer, reference = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    reference.load_state_dict(layer.state_dict())
    pairs = [(module, make(module.parameters(), lr=0.1)) for module in (layer, reference)]
    for module, optimizer in pairs:
        optimizer.train()
        for number in range(3):
            random = torch.Generator().manual_seed(number)
            for parameter in module.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=random)
            optimizer.step()
    pairs[1][1].eval()
    trained = weights(layer)
    with weights_for_use(*pairs[0], None):
        assert all(torch.equal(a, b) for a, b in zip(weights(layer), weights(reference), strict=True))
        assert not torch.equal(weights(layer)[0], trained[0])
    assert all(torch.equal(a, b) for a, b in zip(weights(layer), trained, strict=True))
    assert pairs[0][1].param_groups[0]["train_mode"]


def test_average_is_restored_or_refused():
    layer = torch.nn.Linear(4, 3)
    step(layer, 1)
    average, other = Average(layer, 0.5), Average(torch.nn.Linear(4, 3), 0.5)
    other.load(average.tensors())
    assert torch.equal(other.tensors()["weight"], layer.weight)
    with pytest.raises(TrainerError, match="ema_decay"):
        other.load(None)
    with pytest.raises(TrainerError, match="ema_decay"):
        other.load(Average(torch.nn.Linear(3, 3), 0.5).tensors())
