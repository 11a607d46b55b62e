"""One optimizer step and its parts: seeds, gradients of micro-batches, errors of a loss, what a checkpoint holds beside network and optimizer."""

import pytest
import torch

from library.errors import TrainerError
from library.models.flux1.family import LORA_PARTS
from library.models.flux1.layer_names import FLUX_PREFIX
from library.optim.averaging import Average
from library.optim.optimizers import create_optimizer
from library.training.learner import Learner
from networks.factory import parameter_groups
from networks.lora_flux import LoRASpec, create_network
from tests.support.tiny_models import make_flux
from tests.support.trainer_config import trainer_config


def make_learner(*, ema_decay=None, max_grad_norm=1.0):
    optim = trainer_config(learning_rate=0.1, optimizer_type="SGD").optim
    network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=1, alpha=1.0), seed=0)
    optimizer = create_optimizer(optim, parameter_groups(optim, network, LORA_PARTS))
    return Learner(
        network=network,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        average=Average(network, ema_decay) if ema_decay else None,
        seed=7,
        learning_rate=0.1,
        max_grad_norm=max_grad_norm,
    )


def weight_of(learner):
    return next(iter(learner.network.parameters()))


def step(learner, number, scale=1.0):
    losses = torch.stack([parameter.square().sum() for parameter in learner.network.parameters()]).sum().reshape(1) * scale
    learner.backward(losses, 1)
    return learner.step(number)


def test_micro_batches_add_their_mean_gradients():
    learner = make_learner()
    weight = weight_of(learner)
    loss = learner.backward(torch.stack([weight.sum(), weight.sum() * 3]), 2)
    assert loss == pytest.approx(2 * weight.sum().item())
    assert torch.equal(weight.grad, torch.ones_like(weight))
    learner.backward(torch.stack([weight.sum() * 2]), 2)
    assert torch.equal(weight.grad, torch.full_like(weight, 2.0))


def test_step_clips_returns_its_rates_and_clears_gradients():
    learner = make_learner(max_grad_norm=1e-3)
    before = weight_of(learner).detach().clone()
    assert step(learner, 0) == {"unet": pytest.approx(0.1)}
    assert (weight_of(learner) - before).norm() <= 0.1 * 1e-3 + 1e-7
    assert step(learner, 1) == {"unet": pytest.approx(0.05)}
    assert weight_of(learner).grad is None


def test_each_step_seeds_global_generator():
    learner, draws = make_learner(), []
    for number in (3, 4, 3):
        learner.begin_step(number)
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[2] != draws[1]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_training(loss):
    learner = make_learner()
    learner.check_loss(1.0, 5)
    with pytest.raises(TrainerError, match="at the first step, before anything was learned") as caught:
        learner.check_loss(loss, 0)
    assert caught.value.reason_code == "nan"
    with pytest.raises(TrainerError, match=r"at step 6; .* \(--learning_rate is 0.1\)"):
        learner.check_loss(loss, 5)


def test_network_without_changed_weights_is_refused():
    learner = make_learner()
    with pytest.raises(TrainerError, match=r"nothing was learned in 9 steps: .* learning rate 0.1 ") as caught:
        learner.check_learned(9)
    assert caught.value.reason_code == "bad_output"
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(1.0)
    learner.check_learned(9)


def test_average_is_in_network_only_while_it_is_used():
    learner = make_learner(ema_decay=0.9)
    start = weight_of(learner).detach().clone()
    for number in range(3):
        step(learner, number)
    trained = weight_of(learner).detach().clone()
    with learner.weights_for_use():
        used = weight_of(learner).detach().clone()
    assert torch.equal(weight_of(learner), trained)
    assert (used - trained).norm() > 0
    assert (used - trained).norm() < (start - trained).norm()
    average = learner.checkpoint_parts().extra["average"]
    assert any(torch.equal(tensor, used) for tensor in average.values() if tensor.shape == used.shape)
    assert make_learner().checkpoint_parts().extra == {}
