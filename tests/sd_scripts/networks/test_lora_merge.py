"""A base with LoRAs merged into it gives the same images as base and LoRAs; mismatches are reported."""

import pytest
import torch
from safetensors.torch import save_file

from library.config import BaseWeights
from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX
from library.placement.quantization import quantize_blocks
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import to_diffusers
from networks.lora_merge import merge_base_weights, text_identity
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_clip, make_flux
from tests.support.trainer_config import trainer_config


@pytest.fixture(name="paths")
def fixture_paths(tmp_path):
    paths = []
    for seed, encoders in enumerate(({}, {CLIP_PREFIX: make_clip()})):
        network = create_network({FLUX_PREFIX: make_flux(), **encoders}, LoRASpec(rank=3, alpha=1.0), seed=seed)
        randomize_lora(network)
        paths.append(str(tmp_path / f"{seed}.safetensors"))
        save_file(to_diffusers(network.weights()) if seed else network.weights(), paths[-1])
    return paths


def files(paths, multipliers=(1.0, 1.0)):
    return [BaseWeights(path=path, multiplier=multiplier) for path, multiplier in zip(paths, multipliers, strict=False)]


@torch.no_grad()
def test_merged_weights_equal_base_plus_lora(paths):
    merged, expected = make_flux(), make_flux()
    merge_base_weights(files(paths, (0.5, 1.0)), {FLUX_PREFIX: merged})
    for seed, multiplier in enumerate((0.5, 1.0)):
        network = create_network({FLUX_PREFIX: expected}, LoRASpec(rank=3, alpha=1.0), seed=seed)
        randomize_lora(network)
        network.set_multiplier(multiplier)
    change = (expected(**flux_inputs(PARAMS)) - make_flux()(**flux_inputs(PARAMS))).norm()
    assert (merged(**flux_inputs(PARAMS)) - expected(**flux_inputs(PARAMS))).norm() < 1e-5 * change


@torch.no_grad()
def test_each_model_takes_its_own_part(paths):
    clip = make_clip()
    before = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    merge_base_weights(files(paths), {CLIP_PREFIX: clip})
    changed = {name for name, tensor in clip.state_dict().items() if not torch.equal(tensor, before[name])}
    assert len(changed) == 6
    assert all(name.endswith(".weight") for name in changed)
    merge_base_weights([], {CLIP_PREFIX: clip})  # nothing given, nothing happens


def test_only_what_changes_text_encoders_changes_captions_caches(paths):
    assert text_identity(files(paths[:1])) == text_identity([]) == ()
    one, half = text_identity(files(paths)), text_identity(files(paths, (1.0, 0.5)))
    assert len(one) == len(half) == 1
    assert one != half


@torch.no_grad()
def test_quantized_weights_are_widened_added_to_and_quantized_again(paths):
    plain, stored, before = make_flux(), make_flux(), make_flux().double_blocks
    quantize_blocks(stored.blocks, "int8", torch.float32)
    for flux in (plain, stored):
        merge_base_weights(files(paths), {FLUX_PREFIX: flux})
    for path, linear in plain.double_blocks.named_modules():
        if isinstance(linear, torch.nn.Linear):
            layer = stored.double_blocks.get_submodule(path)
            assert layer.weight.dtype == torch.int8
            widest = torch.maximum(linear.weight.abs(), before.get_submodule(path).weight.abs()).amax(1, keepdim=True)
            assert (
                (layer.dequantized_weight() - linear.weight).abs() <= 2 * widest / 127
            ).all()  # rounded three times, to half a step each


def test_invalid_value_is_reported(tmp_path):
    save_file(
        {
            "lora_unet_double_blocks_9_img_mlp_0.lora_down.weight": torch.ones(1, 64),
            "lora_unet_double_blocks_9_img_mlp_0.lora_up.weight": torch.ones(64, 1),
        },
        tmp_path / "big.safetensors",
    )
    with pytest.raises(TrainerError, match=r"big\.safetensors.*double_blocks_9"):
        merge_base_weights(files([str(tmp_path / "big.safetensors")]), {FLUX_PREFIX: make_flux()})
    with pytest.raises(TrainerError, match="missing"):
        merge_base_weights(files([str(tmp_path / "none.safetensors")]), {FLUX_PREFIX: make_flux()})


def test_more_multipliers_than_files_are_refused(paths):
    with pytest.raises(TrainerError, match=r"--base_weights_multiplier has 3 values for 2"):
        trainer_config(base_weights=paths, base_weights_multiplier=(1.0, 1.0, 1.0))
