"""The transformer equals diffusers' on the same weights, and says what is wrong with a file that is no FLUX."""

import pytest
import torch
from safetensors.torch import save_file

from library.errors import TrainerError
from library.flux_math import image_ids, text_ids
from library.flux_model import Flux, FluxParams, load_flux, params_from_shapes
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
    for flux.gradient_checkpointing in (False, True):
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


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_load_with_and_without_prefix(tmp_path, prefix):
    flux = random_flux(guidance_embed=True)
    save_file({prefix + key: tensor.contiguous() for key, tensor in flux.state_dict().items()}, tmp_path / "flux.safetensors")
    loaded = load_flux(str(tmp_path / "flux.safetensors"), dtype=torch.bfloat16, device="cpu")
    assert loaded.img_in.weight.dtype == torch.bfloat16
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in loaded.parameters())
    assert torch.equal(loaded.single_blocks[2].linear1.weight, flux.single_blocks[2].linear1.weight.bfloat16())


def test_another_model_is_named(tmp_path):
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainerError, match="not a FLUX transformer") as caught:
        load_flux(str(tmp_path / "other.safetensors"), dtype=None, device="cpu")
    assert caught.value.reason_code == "bad_model"


def test_a_missing_tensor_is_named(tmp_path):
    state = {key: tensor.contiguous() for key, tensor in random_flux(guidance_embed=True).state_dict().items()}
    del state["single_blocks.1.linear2.bias"]
    save_file(state, tmp_path / "flux.safetensors")
    with pytest.raises(TrainerError, match=r"single_blocks\.1\.linear2\.bias is missing"):
        load_flux(str(tmp_path / "flux.safetensors"), dtype=None, device="cpu")
