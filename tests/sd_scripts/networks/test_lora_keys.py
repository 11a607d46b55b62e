"""Both kinds of names mean the same LoRA, and a conversion there and back gives the same tensors."""

import pytest
import torch

from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import to_diffusers, to_kohya
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
def test_kohyas_tensors_come_back_as_they_were(rank, alpha, split_qkv):
    weights = lora(rank=rank, alpha=alpha, split_qkv=split_qkv)
    assert same(to_kohya(to_diffusers(weights)), weights)


def test_an_untrained_lora_comes_back_too():
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
def test_pefts_tensors_come_back_as_they_were(alpha):
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


def test_a_part_that_is_missing_adds_nothing_and_parts_of_other_scales_keep_them():
    tensors = {name: tensor for name, tensor in peft(1.5).items() if "to_k" not in name}
    tensors["transformer.transformer_blocks.0.attn.to_v.alpha"] = torch.tensor(6.0)
    change = deltas(to_kohya(tensors))["lora_unet_double_blocks_0_img_attn_qkv"]
    q, v = (
        tensors[f"transformer.transformer_blocks.0.attn.{name}.lora_B.weight"]
        @ tensors[f"transformer.transformer_blocks.0.attn.{name}.lora_A.weight"]
        for name in ("to_q", "to_v")
    )
    assert torch.allclose(change, torch.cat([q * 0.5, torch.zeros(64, 64), v * 2]), atol=1e-5)


def test_bfl_and_diffusers_have_the_last_modulation_the_other_way_round():
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
def test_keys_without_a_counterpart_are_named(change, tensors):
    name = next(iter(tensors)).split(".lo")[0]
    with pytest.raises(TrainerError) as caught:
        change(tensors)
    assert name in str(caught.value)


def test_to_kohya_without_the_up_matrix_names_the_incomplete_module():
    with pytest.raises(TrainerError, match=r"lora_unet_double_blocks_0_img_attn_qkv lacks its lora_up\.weight"):
        to_kohya({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(1, 2)})
