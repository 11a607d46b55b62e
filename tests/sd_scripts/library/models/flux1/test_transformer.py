"""The transformer equals diffusers' on the same weights."""

import pytest
import torch

from library.models.flux1.math import image_ids, text_ids
from library.models.flux1.transformer import Flux, FluxParams, params_from_shapes
from library.placement.activations import BlockCheckpointing
from tests.support.diffusers_reference import flux_in_diffusers

TINY = {
    "in_channels": 64,
    "context_dim": 48,
    "vec_dim": 32,
    "hidden_size": 128,
    "num_heads": 2,
    "mlp_dim": 512,
    "depth": 2,
    "depth_single_blocks": 3,
}


def random_flux(*, guidance_embed: bool) -> Flux:
    torch.manual_seed(0)
    flux = Flux(FluxParams(**TINY, guidance_embed=guidance_embed)).eval()
    for parameter in flux.parameters():  # scales and biases begin at one and zero, where an error could hide
        parameter.data += 0.05 * torch.randn_like(parameter)
    return flux.requires_grad_(False)


def random_inputs(flux: Flux, batch: int = 2, height: int = 6, width: int = 10, length: int = 7) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    tokens = height * width // 4
    return {
        "img": torch.randn(batch, tokens, flux.params.in_channels, generator=random),
        "img_ids": image_ids(batch, height, width),
        "txt": torch.randn(batch, length, flux.params.context_dim, generator=random),
        "txt_ids": text_ids(batch, length),
        "timesteps": torch.rand(batch, generator=random),
        "y": torch.randn(batch, flux.params.vec_dim, generator=random),
        "guidance": torch.tensor([1.0, 3.5]) if flux.params.guidance_embed else None,
    }


def in_diffusers(flux: Flux, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    reference = flux_in_diffusers(flux.state_dict(), flux.params)
    return reference(
        hidden_states=inputs["img"],
        encoder_hidden_states=inputs["txt"],
        pooled_projections=inputs["y"],
        timestep=inputs["timesteps"],
        img_ids=inputs["img_ids"][0],
        txt_ids=inputs["txt_ids"][0],
        guidance=inputs["guidance"],
    ).sample


@pytest.mark.parametrize("guidance_embed", [True, False], ids=["dev", "schnell"])
def test_output_equals_diffusers(guidance_embed):
    flux = random_flux(guidance_embed=guidance_embed)
    inputs = random_inputs(flux)
    with torch.no_grad():
        ours, theirs = flux(**inputs), in_diffusers(flux, inputs)
    assert (ours - theirs).norm() / theirs.norm() < 1e-5


def test_gradient_checkpointing_changes_nothing():
    flux = random_flux(guidance_embed=True)
    gradients = []
    for flux.block_runner in (None, BlockCheckpointing()):
        inputs = random_inputs(flux)
        inputs["img"].requires_grad_()
        flux(**inputs).square().mean().backward()
        gradients.append(inputs["img"].grad)
    assert torch.equal(*gradients)


def test_masked_text_is_not_seen():
    flux = random_flux(guidance_embed=True)
    inputs = random_inputs(flux)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]] * 2)
    with torch.no_grad():
        before = flux(**inputs, txt_mask=mask)
        inputs["txt"][:, 4:] += 5.0
        assert torch.allclose(before, flux(**inputs, txt_mask=mask), atol=1e-5)
        assert not torch.allclose(before, flux(**inputs), atol=1e-2)


def test_a_dev_model_demands_guidance():
    flux = random_flux(guidance_embed=True)
    with pytest.raises(ValueError, match="guidance"):
        flux(**random_inputs(flux) | {"guidance": None})


def test_dimensions_come_from_shapes():
    flux = random_flux(guidance_embed=False)
    assert params_from_shapes({key: tuple(t.shape) for key, t in flux.state_dict().items()}) == flux.params
