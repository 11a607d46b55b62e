"""The VAE equals diffusers' on the same weights, and its latents are shifted and scaled."""

import pytest
import torch
from safetensors.torch import save_file

from library.errors import TrainerError
from library.models.flux1.vae import SCALE, SHIFT, VAE, VAEParams, load_vae, params_from_shapes
from library.randomness import generator
from tests.support.diffusers_reference import VAE_PARAMS, random_vae, vae_in_diffusers


@pytest.fixture(name="pair")
def fixture_pair():
    vae = random_vae()
    return vae, vae_in_diffusers(vae.state_dict(), VAE_PARAMS)


@torch.no_grad()
def test_encode_equals_diffusers(pair):
    ours, theirs = pair
    pixels = torch.rand(2, 3, 48, 64) * 2 - 1
    latents = ours.encode(pixels)
    reference = (theirs.encode(pixels).latent_dist.mean - SHIFT) * SCALE
    assert latents.shape == (2, 16, 6, 8)
    assert (latents - reference).norm() / reference.norm() < 1e-5


@torch.no_grad()
def test_decode_equals_diffusers(pair):
    ours, theirs = pair
    latents = torch.randn(2, 16, 6, 8)
    reference = theirs.decode(latents / SCALE + SHIFT).sample
    assert (ours.decode(latents) - reference).norm() / reference.norm() < 1e-5


@torch.no_grad()
def test_latents_with_generator_are_sampled_around_mean():
    vae, pixels = random_vae(), torch.rand(1, 3, 16, 16) * 2 - 1
    first, second = (vae.encode(pixels, generator(1, "vae", number)) for number in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, vae.encode(pixels, generator(1, "vae", 0)))
    samples = torch.stack([vae.encode(pixels, generator(1, "vae", number)) for number in range(400)])
    deviation = (0.5 * vae.encoder(pixels).chunk(2, dim=1)[1]).exp() * SCALE
    assert torch.allclose(samples.mean(0), vae.encode(pixels), atol=float(deviation.max()) * 0.25)
    assert (samples.std(0) / deviation).mean() == pytest.approx(1.0, abs=0.02)


def test_dimensions_come_from_shapes_and_load(tmp_path):
    vae = random_vae()
    assert params_from_shapes({key: tuple(t.shape) for key, t in vae.state_dict().items()}) == VAE_PARAMS
    save_file({key: tensor.contiguous() for key, tensor in vae.state_dict().items()}, tmp_path / "ae.safetensors")
    loaded = load_vae(str(tmp_path / "ae.safetensors"), dtype=None, device="cpu")
    assert torch.equal(loaded.decoder.up[0].block[2].conv2.weight, vae.decoder.up[0].block[2].conv2.weight)


def test_file_of_another_model_is_reported(tmp_path):
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainerError, match="is not a VAE"):
        load_vae(str(tmp_path / "other.safetensors"), dtype=None, device="cpu")


@torch.no_grad()
@pytest.mark.parametrize("form", ["bfl in a whole checkpoint", "vae folder", "pipeline folder"])
def test_every_vae_format_decodes_as_diffusers(pair, form, tmp_path):
    ours, theirs = pair
    path = tmp_path if form == "pipeline folder" else tmp_path / "vae"
    if form.startswith("bfl"):
        path = tmp_path / "all.safetensors"
        save_file({f"vae.{key}": tensor.contiguous() for key, tensor in ours.state_dict().items()} | {"x": torch.ones(1)}, path)
    else:
        theirs.save_pretrained(tmp_path / "vae")
    loaded = load_vae(str(path), dtype=torch.float32, device="cpu")
    latents, pixels = torch.randn(1, 16, 4, 6), torch.rand(1, 3, 32, 48)
    reference = theirs.decode(latents / SCALE + SHIFT).sample
    assert (loaded.decode(latents) - reference).norm() / reference.norm() < 1e-5
    assert torch.equal(loaded.encode(pixels), ours.encode(pixels))


def test_load_vae_of_stable_diffusion_names_model(tmp_path):
    vae = VAE(VAEParams(channels=(8, 8), num_res_blocks=1, z_channels=4))
    save_file({key: tensor.contiguous() for key, tensor in vae.state_dict().items()}, tmp_path / "ae.safetensors")
    with pytest.raises(TrainerError, match="4 channels"):
        load_vae(str(tmp_path / "ae.safetensors"), dtype=None, device="cpu")
