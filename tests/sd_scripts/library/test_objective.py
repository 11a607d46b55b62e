"""The loss of a step: a loss curve that independent code computed (tests/golden/loss_curve.py), what a step draws, and where text comes from."""

import json

import pytest
import torch

from library.data.dataset import Batch
from library.models.flux1.family import Flux1Family
from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.math import unpack_latents
from library.objective import BatchInputs, FlowMatchingLoss
from library.optim.optimizers import clip_gradients, create_optimizer
from library.placement.activations import BlockCheckpointing
from library.randomness import generator
from networks.lora_flux import LoRASpec, create_network
from tests.golden import loss_curve as golden
from tests.support.trainer_config import trainer_config

CPU = torch.device("cpu")
FAMILY = Flux1Family("dev")
FLAGS = (
    "--seed", str(golden.SEED), "--learning_rate", str(golden.RATE), "--timestep_sampling", "shift", "--discrete_flow_shift",
    str(golden.SHIFT), "--model_prediction_type", "raw", "--guidance_scale", "1.0", "--network_train_unet_only",
)  # fmt: skip


def make_parts(*extra):
    """Return the configuration, the network with the golden weights, and the loss over the golden model."""
    config = trainer_config(*FLAGS, *extra)
    flux = golden.base_model()
    flux.block_runner = BlockCheckpointing() if config.placement.gradient_checkpointing else None
    network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=golden.RANK, alpha=golden.ALPHA), seed=0)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = {name: golden.first_weights(name, tuple(tensor.shape)) for name, tensor in weights.items() if not name.endswith("alpha")}
    network.load(weights | first, "golden")
    inputs = BatchInputs(FAMILY, device=CPU, seed=golden.SEED)
    loss = FlowMatchingLoss(FAMILY, flux, network, inputs, config.loss, seed=golden.SEED, device=CPU, dtype=torch.float32)
    return config, network, loss


def make_batch(step=0, **fields):
    given = golden.inputs(step)
    texts = {"t5_out": given["context"], "clip_pooled": given["pooled"]}
    return Batch(captions=[""], **({"loss_weights": torch.ones(1), "latents": given["latents"], "text": texts} | fields))


def losses_of(num_steps, *extra, rate=golden.RATE):
    config, network, objective = make_parts(*extra)
    optimizer = create_optimizer(config.optim, [{"params": list(network.parameters()), "lr": rate}])
    losses = []
    for step in range(num_steps):
        batch = make_batch(step)
        loss = objective(batch, objective.inputs.latents(batch, step=step, micro=0), step=step, micro=0).mean()
        loss.backward()
        clip_gradients(network, config.optim.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("extra", [(), ("--gradient_checkpointing",)], ids=["plain", "checkpointed"])
def test_loss_curve_equals_recorded_one(extra):
    expected = json.loads(golden.GOLDEN.read_text())["losses"]
    assert losses_of(len(expected), *extra) == pytest.approx(expected, rel=2e-5)
    still = losses_of(len(expected), "--max_grad_norm", "0", *extra, rate=0.0)
    assert still[1:] != pytest.approx(expected[1:], rel=1e-3)  # the curve is that of the learning


def inputs_of_flux(objective, batch, *, step=0, micro=0):
    """Return the noisy tokens that the transformer is given."""
    seen = []
    with objective.transformer.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().clone())):
        objective(batch, batch.latents, step=step, micro=micro)
    return seen[0]


def added_noise(*extra, micro=0):
    """Return what --ip_noise_gamma adds to the tokens, over sigma."""
    batch = make_batch()
    plain, disturbed = (inputs_of_flux(make_parts(*flags)[2], batch, micro=micro) for flags in ((), extra))
    normal = torch.randn(1, generator=generator(golden.SEED, "sigma", 0, micro))
    u = torch.sigmoid(normal)
    return (disturbed - plain) / (golden.SHIFT * u / (1 + (golden.SHIFT - 1) * u))


def test_disturbed_noise_is_added_but_is_not_target():
    """Ning et al. 2023: x_t is made from noise + gamma * xi, the target from noise."""
    strong = added_noise("--ip_noise_gamma", "0.5")
    assert (strong / 0.5).std() == pytest.approx(1, abs=0.1)
    noise = torch.randn(golden.inputs(0)["latents"].shape, generator=generator(golden.SEED, "noise", 0, 0))
    assert abs((unpack_latents(strong, 8, 12) * noise).mean()) < 0.1  # drawn independently of the noise
    weaker = added_noise("--ip_noise_gamma", "0.5", "--ip_noise_gamma_random_strength")
    ratio = weaker / strong
    assert 0 < ratio.mean() < 1
    assert ratio.std() < 1e-3
    assert torch.equal(strong, added_noise("--ip_noise_gamma", "0.5"))
    assert not torch.equal(strong, added_noise("--ip_noise_gamma", "0.5", micro=1))


def test_target_excludes_noise_offset():
    """With a transformer whose output is the same for any input, the loss depends on the target alone."""
    batch, losses = make_batch(), []
    for extra in ((), ("--ip_noise_gamma", "0.5")):
        _, _, objective = make_parts(*extra)
        with objective.transformer.register_forward_hook(lambda module, given, output: torch.zeros_like(output)):
            losses.append(objective(batch, batch.latents, step=0, micro=0).item())
    assert losses[0] == losses[1]


def test_at_sigmas_gives_loss_of_step_with_same_draws():
    _, _, objective = make_parts()
    batch = make_batch()
    noise = torch.randn(batch.latents.shape, generator=generator(golden.SEED, "noise", 3, 1))
    u = torch.sigmoid(torch.randn(1, generator=generator(golden.SEED, "sigma", 3, 1)))
    sigmas = golden.SHIFT * u / (1 + (golden.SHIFT - 1) * u)
    expected = objective(batch, batch.latents, step=3, micro=1)
    assert objective.at_sigmas(batch, batch.latents, noise, sigmas).item() == pytest.approx(expected.item(), rel=1e-6)


def test_preserved_image_has_loss_zero_until_network_has_effect():
    _, network, objective = make_parts()
    batch = make_batch(preserves=torch.tensor([True]))
    assert objective(batch, batch.latents, step=0, micro=0).item() > 0
    network.set_multiplier(0.0)
    assert objective.at_sigmas(batch, batch.latents, batch.latents, torch.tensor([0.5])).item() == 0.0
    before = network.loras[0].multiplier
    assert before == 1.0  # the multiplier is put back


def test_loss_weights_scale_loss_of_their_image():
    _, _, objective = make_parts()
    whole, half = (make_batch(loss_weights=torch.tensor([weight])) for weight in (1.0, 0.5))
    losses = [objective(batch, batch.latents, step=0, micro=0).item() for batch in (whole, half)]
    assert losses[1] == losses[0] / 2


def test_cached_text_is_given_to_transformer_with_mask_only_if_cache_has_one():
    plain = make_batch()
    masked = make_batch(text=plain.text | {"t5_mask": torch.ones(1, 9)})
    inputs = BatchInputs(FAMILY, device=CPU, seed=1)
    assert inputs.text(plain).keys() == {"t5_out", "clip_pooled"}
    assert torch.equal(inputs.text(masked)["t5_mask"], torch.ones(1, 9))
    _, _, objective = make_parts()
    seen = []
    with objective.transformer.register_forward_pre_hook(lambda module, given: seen.append(given[-1])):
        for batch in (plain, masked):
            objective(batch, batch.latents, step=0, micro=0)
    assert seen[0] is None
    assert torch.equal(seen[1], torch.ones(1, 9))


class Encoder:
    """A VAE that returns the pixels, plus one random number if it is to draw."""

    def parameters(self):
        return iter([torch.zeros(1, dtype=torch.bfloat16)])

    def encode(self, pixels, random):
        assert not torch.is_grad_enabled()
        assert pixels.dtype == torch.bfloat16
        return pixels if random is None else pixels + torch.rand(1, generator=random)


def test_pixels_become_sample_for_training_and_mean_for_validation():
    batch = make_batch(latents=None, pixels=torch.ones(1, 3, 2, 2))
    inputs = BatchInputs(FAMILY, device=CPU, seed=1, vae=Encoder())
    assert torch.equal(inputs.mean_latents(batch), torch.ones(1, 3, 2, 2))
    first, again, other = (inputs.latents(batch, step=step, micro=0) for step in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
