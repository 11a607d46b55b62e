"""The transformer equals diffusers' on the same weights."""

import pytest
import torch

from library.models.flux1.transformer import params_from_shapes
from library.placement.activations import BlockCheckpointing
from tests.support.diffusers_reference import random_flux, random_inputs, run_in_diffusers


@pytest.mark.parametrize("guidance_embed", [True, False], ids=["dev", "schnell"])
def test_output_equals_diffusers(guidance_embed):
    flux = random_flux(guidance_embed=guidance_embed)
    inputs = random_inputs(flux)
    with torch.no_grad():
        ours, theirs = flux(**inputs), run_in_diffusers(flux, inputs)
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


def test_dev_model_requires_guidance():
    flux = random_flux(guidance_embed=True)
    with pytest.raises(ValueError, match="guidance"):
        flux(**random_inputs(flux) | {"guidance": None})


def test_dimensions_come_from_shapes():
    flux = random_flux(guidance_embed=False)
    assert params_from_shapes({key: tuple(t.shape) for key, t in flux.state_dict().items()}) == flux.params
