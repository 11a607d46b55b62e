"""The LoRA changes FLUX's output as diffusers' own loader says it does, and carries kohya's names."""

import pytest
import torch
from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin
from safetensors.torch import save_file

from library.errors import TrainerError
from library.flux_math import image_ids, text_ids
from library.flux_model import FluxParams
from networks.lora_flux import create_network, parse_network_args
from tests.support.diffusers_reference import flux_in_diffusers
from tests.support.tiny_models import PARAMS, make_flux

TRUE_WIDTH = FluxParams(
    in_channels=64, context_dim=16, vec_dim=16, hidden_size=3072, num_heads=24, mlp_dim=12288, depth=1, depth_single_blocks=1,
    guidance_embed=True,
)  # fmt: skip


def inputs(params, *, tokens=6, length=5):
    random = torch.Generator().manual_seed(7)
    height, width = 4, tokens
    return {
        "img": torch.randn(2, (height // 2) * (width // 2), params.in_channels, generator=random),
        "img_ids": image_ids(2, height, width),
        "txt": torch.randn(2, length, params.context_dim, generator=random),
        "txt_ids": text_ids(2, length),
        "timesteps": torch.tensor([0.3, 0.8]),
        "y": torch.randn(2, params.vec_dim, generator=random),
        "guidance": torch.tensor([1.0, 3.5]),
    }


def fill_up(network):
    """Give every up matrix weights, as a training would."""
    random = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for lora in network.loras:
            lora.lora_up.weight.copy_(torch.randn(lora.lora_up.weight.shape, generator=random) * 0.5)


@torch.no_grad()
def test_a_saved_lora_read_by_diffusers_changes_its_output_as_ours(tmp_path):
    flux = make_flux(TRUE_WIDTH)
    reference = flux_in_diffusers(flux.state_dict(), TRUE_WIDTH)
    x = inputs(TRUE_WIDTH)
    before = flux(**x)
    network = create_network(flux, None, rank=4, alpha=2.0, seed=1)
    assert torch.equal(flux(**x), before)  # an untrained LoRA changes nothing
    fill_up(network)
    after = flux(**x)
    save_file(network.weights(), tmp_path / "lora.safetensors")
    state, alphas = FluxLoraLoaderMixin.lora_state_dict(str(tmp_path / "lora.safetensors"), return_alphas=True, local_files_only=True)
    FluxLoraLoaderMixin.load_lora_into_transformer(state, alphas, reference)
    theirs = reference(
        hidden_states=x["img"], encoder_hidden_states=x["txt"], pooled_projections=x["y"], timestep=x["timesteps"], guidance=x["guidance"],
        img_ids=x["img_ids"][0], txt_ids=x["txt_ids"][0],
    ).sample  # fmt: skip
    change = (after - before).norm()
    assert change > 0.02 * before.norm()
    assert (theirs - after).norm() < 1e-4 * change


def test_kohyas_names():
    names = {lora.name for lora in create_network(make_flux(), None, rank=2, alpha=1.0, seed=0).loras}
    double = {f"{stream}_{part}" for stream in ("img", "txt") for part in ("attn_qkv", "attn_proj", "mlp_0", "mlp_2", "mod_lin")}
    expected = {f"lora_unet_double_blocks_0_{part}" for part in double}
    expected |= {f"lora_unet_single_blocks_{i}_{part}" for i in range(2) for part in ("linear1", "linear2", "modulation_lin")}
    assert names == expected


@pytest.mark.parametrize(("blocks", "odd"), [("single", "double_blocks"), ("double", "single_blocks")])
def test_train_blocks_chooses_the_blocks(blocks, odd):
    network = create_network(make_flux(), None, rank=2, alpha=1.0, seed=0, train_blocks=blocks)
    assert network.loras
    assert not any(odd in lora.name for lora in network.loras)


def test_alpha_scales_the_change():
    x, outputs = inputs(PARAMS), {}
    for alpha in (1.0, 2.0):
        flux = make_flux()
        network = create_network(flux, None, rank=4, alpha=alpha, seed=1)
        before = flux(**x)
        with torch.no_grad():
            network.loras[-1].lora_up.weight.fill_(1e-3)  # modulation of the last block
        outputs[alpha] = (flux(**x) - before).detach()
    assert 1.5 < outputs[2.0].norm() / outputs[1.0].norm() < 2.5


def test_gradients_are_the_same_with_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        flux = make_flux()
        network = create_network(flux, None, rank=4, alpha=4.0, seed=1)
        fill_up(network)
        flux.gradient_checkpointing = checkpointing
        flux(**inputs(PARAMS)).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))
    assert all(g.abs().sum() > 0 for g in gradients[0])


def test_weights_survive_saving_and_loading():
    first = create_network(make_flux(), None, rank=2, alpha=1.0, seed=0)
    fill_up(first)
    second = create_network(make_flux(), None, rank=2, alpha=1.0, seed=5)
    second.load(first.weights(), "a file")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_what_does_not_fit_is_refused_by_name():
    network = create_network(make_flux(), None, rank=2, alpha=1.0, seed=0)
    weights = network.weights()
    name = sorted(weights)[0]
    with pytest.raises(TrainerError, match=r"a\.safetensors.*lora_unet"):
        network.load({key: value for key, value in weights.items() if key != name}, "a.safetensors")
    wider = create_network(make_flux(), None, rank=3, alpha=1.0, seed=0).weights()
    with pytest.raises(TrainerError, match="not"):
        network.load(wider, "a.safetensors")
    with pytest.raises(TrainerError, match="train_blocks=some"):
        create_network(make_flux(), None, rank=2, alpha=1.0, seed=0, train_blocks="some")
    with pytest.raises(TrainerError, match="foo=1"):
        parse_network_args(["foo=1"])
