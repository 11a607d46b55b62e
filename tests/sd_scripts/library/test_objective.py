"""The trainer's own steps against a loss curve that independent code computed (tests/golden/loss_curve.py), and what a step draws."""

import json

import pytest
import torch

from library.cli.flags import build_parser
from library.data.dataset import Batch
from library.objective import Forward
from library.optim.optimizers import clip_gradients, create_optimizer
from library.placement.activations import BlockCheckpointing
from networks.lora_flux import create_network
from tests.golden import loss_curve as golden
from tests.support.trainer_config import trainer_config


class OneBatchSteps(Forward):
    """A prepared training whose parts are given instead of loaded."""

    def __init__(self, *extra):
        argv = [
            "--seed", str(golden.SEED), "--learning_rate", str(golden.RATE), "--timestep_sampling", "shift", "--discrete_flow_shift",
            str(golden.SHIFT), "--model_prediction_type", "raw", "--guidance_scale", "1.0", "--network_train_unet_only", *extra,
        ]  # fmt: skip
        self.args, self.device, self.dtype = build_parser().parse_args(argv), torch.device("cpu"), torch.float32
        self.flux, self.encoders, self.trains_clip, self.step = golden.base_model(), None, False, 0
        self.flux.block_runner = BlockCheckpointing() if self.args.gradient_checkpointing else None
        self.network = create_network(self.flux, None, rank=golden.RANK, alpha=golden.ALPHA, seed=0)
        weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        begin = {name: golden.first_weights(name, tuple(tensor.shape)) for name, tensor in weights.items() if not name.endswith("alpha")}
        self.network.load(weights | begin, "golden")
        self.optimizer = create_optimizer(trainer_config(*argv).optim, [{"params": list(self.network.parameters()), "lr": golden.RATE}])

    def batch(self):
        given = golden.inputs(self.step)
        texts = {"t5_out": given["context"], "clip_pooled": given["pooled"]}
        return Batch(captions=[""], loss_weights=torch.ones(1), latents=given["latents"], **texts)

    def advance(self):
        loss = self._backward(self.batch(), 0, 1)
        clip_gradients(self.network, self.args.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss


@pytest.mark.parametrize("extra", [(), ("--gradient_checkpointing",)], ids=["plain", "checkpointed"])
def test_the_loss_curve_is_the_golden_one(extra):
    expected = json.loads(golden.GOLDEN.read_text())["losses"]
    training = OneBatchSteps(*extra)
    assert [training.advance() for _ in expected] == pytest.approx(expected, rel=2e-5)
    still = OneBatchSteps("--max_grad_norm", "0", *extra)
    still.optimizer.param_groups[0]["lr"] = 0.0
    assert [still.advance() for _ in expected][1:] != pytest.approx(expected[1:], rel=1e-3)  # the curve is that of the learning


def test_disturbed_noise_goes_in_but_is_not_to_be_found(monkeypatch):
    """Ning et al. 2023: x_t is made from noise + gamma * xi, the target from noise."""
    seen = {}
    training = OneBatchSteps("--ip_noise_gamma", "0.5")
    monkeypatch.setattr(
        "library.objective.flow_matching.add_noise", lambda latents, noise, sigmas: seen.setdefault("noise", noise) + 0 * latents
    )

    def look(args, output, noisy, latents, noise, sigmas):
        seen["target"] = noise
        return output, noise - latents, None

    monkeypatch.setattr("library.objective.flow_matching.prediction_and_target", look)
    training._backward(training.batch(), 0, 1)
    disturbance = (seen["noise"] - seen["target"]) / 0.5
    assert disturbance.std() == pytest.approx(1, abs=0.1)
    assert abs((disturbance * seen["target"]).mean()) < 0.1  # drawn apart from the noise
    weaker = OneBatchSteps("--ip_noise_gamma", "0.5", "--ip_noise_gamma_random_strength")
    noise = seen["target"]
    ratio = (weaker._perturbed(noise, 0) - noise) / (training._perturbed(noise, 0) - noise)
    assert 0 < ratio.mean() < 1
    assert ratio.std() < 1e-3
    assert torch.equal(training._perturbed(noise, 1), training._perturbed(noise, 1))
