"""The LoRA changes FLUX's output as with diffusers' own loader, and has kohya's names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_pipeline import FluxLoraLoaderMixin
from safetensors.torch import save_file

from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from library.models.flux1.transformer import FluxParams
from library.placement.activations import BlockCheckpointing
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import to_diffusers
from networks.network_args import LoRAOptions, parse_network_args
from tests.support.diffusers_reference import flux_in_diffusers
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_clip, make_flux, make_t5

KOHYAS = json.loads((Path(__file__).parents[2] / "support" / "kohya_lora_keys.json").read_text())  # written by kohya_lora_keys.py beside it

OUTSIDE = ("x_embedder", "context_embedder", "time_text_embed")
TRUE_WIDTH = FluxParams(
    in_channels=64, context_dim=16, vec_dim=16, hidden_size=3072, num_heads=24, mlp_dim=12288, depth=1, depth_single_blocks=1,
    guidance_embed=True,
)  # fmt: skip


@pytest.fixture(scope="module", name="true_width")
def fixture_true_width():
    """FLUX.1's width in one double and one single block, ours and diffusers', and ours' output without any LoRA."""
    flux = make_flux(TRUE_WIDTH)
    reference, x = flux_in_diffusers(flux.state_dict(), TRUE_WIDTH), flux_inputs(TRUE_WIDTH)
    with torch.no_grad():
        return flux, reference, x, flux(**x)


@torch.no_grad()
@pytest.mark.parametrize("split_qkv", [False, True])
def test_saved_lora_read_by_diffusers_changes_its_output_as_ours(split_qkv, true_width, tmp_path):
    flux, reference, x, before = true_width
    network = create_network(
        {FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=2.0, options=LoRAOptions(split_qkv=split_qkv, in_dims=(2, 3, 4, 2, 3))), seed=1
    )
    assert torch.equal(flux(**x), before)  # an untrained LoRA changes nothing
    randomize_lora(network)
    after = flux(**x)
    change = (after - before).norm()
    assert change > 0.02 * before.norm()
    for form, weights in (("kohya", network.weights()), ("diffusers", to_diffusers(network.weights()))):
        save_file(weights, tmp_path / f"{form}.safetensors")
        assert (output_in_diffusers(reference, x, tmp_path / f"{form}.safetensors") - after).norm() < 1e-4 * change, form
    for linear in (module for module in flux.modules() if isinstance(module, torch.nn.Linear)):
        vars(linear).pop("forward", None)


def output_in_diffusers(model, x, lora):
    """Read a LoRA file by diffusers' own loader, and draw with it; the model is left as it was."""
    state, alphas = FluxLoraLoaderMixin.lora_state_dict(str(lora), return_alphas=True, local_files_only=True)
    # diffusers' own converter forgets the part of the name that its loader looks for
    state = {f"transformer.{name}" if name.startswith(OUTSIDE) else name: tensor for name, tensor in state.items()}
    FluxLoraLoaderMixin.load_lora_into_transformer(state, alphas, model)
    output = model(
        hidden_states=x["img"], encoder_hidden_states=x["txt"], pooled_projections=x["y"], timestep=x["timesteps"], guidance=x["guidance"],
        img_ids=x["img_ids"][0], txt_ids=x["txt_ids"][0],
    ).sample  # fmt: skip
    model.unload_lora()
    return output


@torch.no_grad()
@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_text_encoders_part_read_by_diffusers_changes_its_output_as_ours(form, tmp_path):
    clip, theirs = make_clip(), make_clip()
    theirs.load_state_dict(clip.state_dict())
    ids = torch.randint(1, 800, (2, 77), generator=torch.Generator().manual_seed(0))
    before = clip(ids)
    network = create_network({CLIP_PREFIX: clip}, LoRASpec(rank=3, alpha=1.5), seed=0)
    randomize_lora(network)
    save_file(to_diffusers(network.weights()) if form == "diffusers" else network.weights(), tmp_path / "lora.safetensors")
    state, alphas = FluxLoraLoaderMixin.lora_state_dict(str(tmp_path / "lora.safetensors"), return_alphas=True, local_files_only=True)
    FluxLoraLoaderMixin.load_lora_into_text_encoder(state, alphas, theirs.text_model, prefix="text_encoder")
    assert (clip(ids) - before).norm() > 0.1
    assert torch.allclose(theirs(ids), clip(ids), atol=1e-5)


def test_module_names_match_kohya():
    names = {lora.name for lora in create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0), seed=0).loras}
    double = {f"{stream}_{part}" for stream in ("img", "txt") for part in ("attn_qkv", "attn_proj", "mlp_0", "mlp_2", "mod_lin")}
    expected = {f"lora_unet_double_blocks_0_{part}" for part in double}
    expected |= {f"lora_unet_single_blocks_{i}_{part}" for i in range(2) for part in ("linear1", "linear2", "modulation_lin")}
    assert names == expected


def ranks_of(network):
    return {lora.name: [lora.rank, lora.scale * lora.rank] for lora in network.loras}


@pytest.mark.parametrize("case", KOHYAS, ids=str)
def test_every_argument_trains_modules_that_kohya_trains(case):
    deep = replace(PARAMS, depth=2, depth_single_blocks=3)
    options = parse_network_args([f"{key}={value}" for key, value in KOHYAS[case]["network_args"].items()])
    models = {FLUX_PREFIX: make_flux(deep), CLIP_PREFIX: make_clip()} | ({T5_PREFIX: make_t5()} if options.train_t5xxl else {})
    network = create_network(models, LoRASpec(rank=4, alpha=2.0, options=options), seed=0)
    assert ranks_of(network) == KOHYAS[case]["modules"]


def test_ranks_from_file_have_precedence():
    flux = make_flux()
    listed = {"lora_unet_single_blocks_1_linear2": (3, 1.5), "lora_unet_img_in": (2, 2.0)}
    network = create_network(
        {FLUX_PREFIX: flux, CLIP_PREFIX: make_clip()},
        LoRASpec(rank=4, alpha=1.0, ranks=listed, options=LoRAOptions(train_blocks="double")),
        seed=0,
    )
    assert ranks_of(network) == {name: list(rank) for name, rank in listed.items()}


def test_verbose_prints_every_module(capsys):
    create_network(
        {FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0, options=LoRAOptions(train_blocks="double", verbose=True)), seed=0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert "lora_unet_double_blocks_0_img_mlp_2: rank 2, alpha 1" in lines


def test_alpha_scales_change():
    x, outputs = flux_inputs(PARAMS), {}
    for alpha in (1.0, 2.0):
        flux = make_flux()
        network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=alpha), seed=1)
        before = flux(**x)
        with torch.no_grad():
            network.loras[-1].lora_up.weight.fill_(1e-3)  # modulation of the last block
        outputs[alpha] = (flux(**x) - before).detach()
    assert 1.5 < outputs[2.0].norm() / outputs[1.0].norm() < 2.5


def test_gradients_are_same_with_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        flux = make_flux()
        network = create_network({FLUX_PREFIX: flux}, LoRASpec(rank=4, alpha=4.0), seed=1)
        randomize_lora(network)
        flux.block_runner = BlockCheckpointing() if checkpointing else None
        flux(**flux_inputs(PARAMS)).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))
    assert all(g.abs().sum() > 0 for g in gradients[0])


def test_weights_survive_saving_and_loading():
    first = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0), seed=0)
    randomize_lora(first)
    second = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0), seed=5)
    second.load(first.weights(), "a file")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_mismatching_tensor_is_refused_with_its_name():
    network = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0), seed=0)
    weights = network.weights()
    name = sorted(weights)[0]
    with pytest.raises(TrainerError, match=r"a\.safetensors.*lora_unet"):
        network.load({key: value for key, value in weights.items() if key != name}, "a.safetensors")
    wider = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=3, alpha=1.0), seed=0).weights()
    with pytest.raises(TrainerError, match=r"a\.safetensors"):
        network.load(wider, "a.safetensors")
    with pytest.raises(TrainerError, match="train_blocks=some"):
        create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0, options=LoRAOptions(train_blocks="some")), seed=0)
    with pytest.raises(TrainerError, match=r"train_double_block_indices=0-1.*0 to 0"):
        create_network(
            {FLUX_PREFIX: make_flux()}, LoRASpec(rank=2, alpha=1.0, options=LoRAOptions(train_double_block_indices="0-1")), seed=0
        )
