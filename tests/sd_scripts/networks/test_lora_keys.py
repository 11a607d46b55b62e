"""Both kinds of names mean the same LoRA, and a conversion there and back gives the same tensors."""

import re

import pytest
import torch

from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from library.models.layer_names import kohya_name
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import KeyForm, check_layers, form_of, to_diffusers, to_kohya
from networks.network_args import LoRAOptions
from tests.support.lora import randomize_lora
from tests.support.tiny_models import make_clip, make_flux, make_t5


def lora(*, rank, alpha, split_qkv):
    models = {FLUX_PREFIX: make_flux(), CLIP_PREFIX: make_clip(), T5_PREFIX: make_t5()}
    options = LoRAOptions(in_dims=(1, 2, 3, 1, 2), split_qkv=split_qkv)
    network = create_network(models, LoRASpec(rank=rank, alpha=alpha, options=options), seed=1)
    randomize_lora(network)
    return network.weights()


def same(first, second):
    return set(first) == set(second) and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first
    )


@pytest.mark.parametrize("split_qkv", [False, True])
@pytest.mark.parametrize(("rank", "alpha"), [(4, 2.0), (6, 6.0), (12, 1.0)])
def test_kohya_tensors_survive_round_trip(rank, alpha, split_qkv):
    weights = lora(rank=rank, alpha=alpha, split_qkv=split_qkv)
    assert same(to_kohya(to_diffusers(weights)), weights)


def test_untrained_lora_survives_round_trip():
    weights = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=12, alpha=1.0), seed=1).weights()
    assert same(to_kohya(to_diffusers(weights)), weights)


def peft(alpha=None, rank=3):
    """A LoRA as PEFT trains one on diffusers' FLUX: every projection for itself."""
    random = torch.Generator().manual_seed(0)
    names = [
        f"transformer.transformer_blocks.0.attn.{name}"
        for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj")
    ]
    names += [f"transformer.single_transformer_blocks.1.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    tensors = {}
    for name in names:
        rows = 128 if name.endswith("mlp") else 64
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, 64, generator=random)
        tensors[f"{name}.lora_B.weight"] = torch.randn(rows, rank, generator=random)
        tensors |= {f"{name}.alpha": torch.tensor(alpha)} if alpha else {}
    return tensors


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_peft_tensors_survive_round_trip(alpha):
    kohya = to_kohya(peft(alpha))
    assert kohya["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"].shape == (9, 64)
    assert kohya["lora_unet_single_blocks_1_linear1.lora_up.weight"].shape == (320, 12)
    assert same(to_diffusers(kohya), peft(alpha))


def deltas(tensors):
    """What each kohya module adds to its frozen weight."""
    names = {name.split(".")[0] for name in tensors}
    return {
        name: tensors[f"{name}.lora_up.weight"]
        @ tensors[f"{name}.lora_down.weight"]
        * tensors[f"{name}.alpha"]
        / len(tensors[f"{name}.lora_down.weight"])
        for name in names
    }


def test_part_that_is_missing_adds_nothing_and_parts_of_other_scales_keep_them():
    tensors = {name: tensor for name, tensor in peft(1.5).items() if "to_k" not in name}
    tensors["transformer.transformer_blocks.0.attn.to_v.alpha"] = torch.tensor(6.0)
    change = deltas(to_kohya(tensors))["lora_unet_double_blocks_0_img_attn_qkv"]
    q, v = (
        tensors[f"transformer.transformer_blocks.0.attn.{name}.lora_B.weight"]
        @ tensors[f"transformer.transformer_blocks.0.attn.{name}.lora_A.weight"]
        for name in ("to_q", "to_v")
    )
    assert torch.allclose(change, torch.cat([q * 0.5, torch.zeros(64, 64), v * 2]), atol=1e-5)


def test_last_modulation_is_swapped_between_bfl_and_diffusers():
    up = torch.arange(8.0).reshape(4, 2)
    name = "lora_unet_final_layer_adaLN_modulation_1"
    kohya = {f"{name}.lora_down.weight": torch.ones(2, 3), f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)}
    theirs = to_diffusers(kohya)
    assert torch.equal(theirs["transformer.norm_out.linear.lora_B.weight"], torch.cat([up[2:], up[:2]]))
    assert same(to_kohya(theirs), kohya)


@pytest.mark.parametrize(
    ("change", "tensors"),
    [
        (to_diffusers, {"lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": torch.ones(2, 2)}),
        (
            to_diffusers,
            {"lora_unet_down_blocks_0.lora_down.weight": torch.ones(1, 2), "lora_unet_down_blocks_0.lora_up.weight": torch.ones(2, 1)},
        ),
        (to_diffusers, {"lora_unet_img_in.lora_down.weight": torch.ones(1, 2)}),
        (to_kohya, {"transformer.transformer_blocks.0.attn.to_x.lora_A.weight": torch.ones(1, 2)}),
        (to_kohya, {"transformer.x_embedder.lora_magnitude_vector": torch.ones(2)}),
    ],
)
def test_keys_without_counterpart_are_reported(change, tensors):
    name = next(iter(tensors)).split(".lo")[0]
    with pytest.raises(TrainerError) as caught:
        change(tensors)
    assert name in str(caught.value)


def test_to_kohya_without_up_matrix_names_incomplete_module():
    with pytest.raises(TrainerError, match=r"lora_unet_double_blocks_0_img_attn_qkv lacks its lora_up\.weight"):
        to_kohya({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(1, 2)})


def renamed(tensors, owner, leaf=str):
    """Return tensors of kohya's or diffusers' keys with their layers and leaves renamed."""
    split = {name: re.fullmatch(r"(.+?)\.(lora_\w+\.weight|alpha)", name).groups() for name in tensors}
    return {f"{owner(split[name][0])}{leaf('.' + split[name][1])}": tensor for name, tensor in tensors.items()}


def own_path(module):
    """Return the path of FLUX's layer for a kohya module."""
    return next(path for path, _ in make_flux().named_modules() if kohya_name(FLUX_PREFIX, path) == module)


def peft_leaf(leaf):
    return leaf.replace("lora_down", "lora_A").replace("lora_up", "lora_B")


OF_WHOLE_LAYERS = {
    "ComfyUI": lambda tensors: renamed(tensors, lambda module: f"diffusion_model.{own_path(module)}", peft_leaf),
    "ComfyUI with kohya's leaves": lambda tensors: renamed(tensors, lambda module: f"diffusion_model.{own_path(module)}"),
    "BFL's names alone": lambda tensors: renamed(tensors, own_path, peft_leaf),
    "PEFT over BFL's names": lambda tensors: renamed(tensors, lambda module: f"base_model.model.{own_path(module)}", peft_leaf),
    "a compiled model": lambda tensors: renamed(tensors, lambda module: f"transformer._orig_mod.{own_path(module)}", peft_leaf),
    "SimpleTuner": lambda tensors: renamed(tensors, lambda module: module.replace("lora_unet", "lycoris")),
}


@pytest.mark.parametrize("form", OF_WHOLE_LAYERS)
def test_layer_names_of_other_programs_map_to_kohya(form):
    weights = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=4, alpha=2.0), seed=1).weights()
    assert same(to_kohya(OF_WHOLE_LAYERS[form](weights)), weights)


def one_trainers(tensors):
    """Return diffusers' keys as OneTrainer writes them: underscores, kohya's leaves."""
    flat = renamed(tensors, lambda owner: "lora_" + owner.replace(".", "_"), lambda leaf: leaf.replace("lora_A", "lora_down"))
    return {name.replace("lora_B", "lora_up"): tensor for name, tensor in flat.items()}


def leaves(before, after):
    return lambda tensors: {
        name.replace(f".lora_{before[0]}", after[0]).replace(f".lora_{before[1]}", after[1]): t for name, t in tensors.items()
    }


OF_PARTS = {
    "OneTrainer": one_trainers,
    "SimpleTuner": lambda tensors: {name.replace("lora_transformer_", "lycoris_"): t for name, t in one_trainers(tensors).items()},
    "PEFT in a pipeline": lambda tensors: {
        name.replace("transformer.", "transformer.base_model.model.", 1): t for name, t in tensors.items()
    },
    "PEFT alone": lambda tensors: {name.replace("transformer.", "base_model.model.", 1): t for name, t in tensors.items()},
    "an adapter's name": leaves("AB", (".lora_A.cat_1", ".lora_B.cat_1")),
    "old diffusers": leaves("AB", ("_lora.down", "_lora.up")),
    "older diffusers": leaves("AB", (".lora.down", ".lora.up")),
    "old transformers": leaves("AB", (".lora_linear_layer.down", ".lora_linear_layer.up")),
    "no prefix": lambda tensors: {name.removeprefix("transformer."): t for name, t in tensors.items()},
}


@pytest.mark.parametrize("form", OF_PARTS)
def test_part_names_of_other_programs_map_to_diffusers(form):
    assert same(to_kohya(OF_PARTS[form](peft(1.5))), to_kohya(peft(1.5)))


@pytest.mark.parametrize("prefix", ["text_encoders.clip_l.transformer.", "clip_l.transformer.", "text_encoder."])
def test_text_encoder_names_of_other_programs_map_to_kohya(prefix):
    path = "text_model.encoder.layers.0.mlp.fc1"
    tensors = {f"{prefix}{path}.lora_A.weight": torch.ones(2, 64), f"{prefix}{path}.lora_B.weight": torch.ones(64, 2)}
    assert {name.split(".")[0] for name in to_kohya(tensors)} == {"lora_te1_text_model_encoder_layers_0_mlp_fc1"}


def test_te3_names_map_to_kohya_t5():
    module = "encoder_block_0_layer_1_DenseReluDense_wi_0"
    tensors = {f"lora_te2_{module}.lora_down.weight": torch.ones(2, 32), f"lora_te2_{module}.lora_up.weight": torch.ones(32, 2)}
    assert {name.split(".")[0] for name in to_kohya(tensors)} == {f"lora_te3_{module}"}


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", KeyForm.KOHYA),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", KeyForm.KOHYA),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", KeyForm.DIFFUSERS),
        ("diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight", KeyForm.COMFYUI),
        ("lora_transformer_transformer_blocks_0_attn_to_q.lora_down.weight", KeyForm.ONETRAINER),
        ("lora_te2_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight", KeyForm.ONETRAINER),
        ("lycoris_transformer_blocks_0_attn_to_q.lora_down.weight", KeyForm.SIMPLETUNER),
    ],
)
def test_key_format_is_detected(key, form):
    assert form_of([key]) is form


def test_layer_under_two_names_is_refused():
    weights = create_network({FLUX_PREFIX: make_flux()}, LoRASpec(rank=4, alpha=2.0), seed=1).weights()
    with pytest.raises(TrainerError, match="has tensors under two names"):
        to_kohya(weights | OF_WHOLE_LAYERS["ComfyUI"](weights))
    with pytest.raises(TrainerError, match="has tensors under two names"):
        to_kohya(peft() | {name: tensor for name, tensor in weights.items() if "0_img_attn_qkv" in name})


@pytest.mark.parametrize(
    "module", ["lora_unet_double_blocks_0_img_attn_qkv_", "lora_unet_down_blocks_0", "lora_unet_x_embedder", "transformer.img_in", "x"]
)
def test_only_kohya_keys_of_flux_are_written(module):
    with pytest.raises(TrainerError, match=f"{module}.alpha belongs to no layer of FLUX"):
        check_layers([f"{module}.alpha"])
