"""FLUX.1's one table of layer names, against diffusers' own models and the module names that kohya's code makes."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from library.models.flux1.layer_names import FLUX_PREFIX, LAYER_NAMES, vae_recipes
from library.models.layer_names import kohya_name
from tests.support import kohya_lora_keys
from tests.support.diffusers_reference import VAE_PARAMS, flux_in_diffusers, random_flux, random_vae, vae_in_diffusers

KOHYA_CASES = json.loads(Path(kohya_lora_keys.__file__).with_suffix(".json").read_text())
KOHYA_MODULES = sorted({module for case in KOHYA_CASES.values() for module in case["modules"]})


@pytest.mark.parametrize("guidance_embed", [True, False])
def test_transformer_recipes_from_diffusers_names_use_every_tensor_once(guidance_embed):
    flux = random_flux(guidance_embed=guidance_embed)
    theirs = flux_in_diffusers(flux.state_dict(), flux.params).state_dict()
    recipes = LAYER_NAMES.recipes(theirs)
    assert set(recipes) == set(flux.state_dict())
    assert Counter(part for recipe in recipes.values() for part in recipe.names) == Counter(theirs.keys())


def test_vae_recipes_from_diffusers_names_make_every_tensor():
    vae = random_vae()
    recipes = vae_recipes(vae_in_diffusers(vae.state_dict(), VAE_PARAMS).state_dict())
    assert set(recipes) == set(vae.state_dict())


def test_recipes_from_bfl_names_are_empty():
    with torch.no_grad():
        assert LAYER_NAMES.recipes(random_flux(guidance_embed=True).state_dict()) == {}
        assert vae_recipes(random_vae().state_dict()) == {}


def test_diffusers_modules_of_all_linears_are_exactly_those_of_diffusers():
    flux = random_flux(guidance_embed=True)
    reference = flux_in_diffusers(flux.state_dict(), flux.params)
    theirs = {f"transformer.{path}" for path, module in reference.named_modules() if isinstance(module, nn.Linear)}
    linears = [kohya_name(FLUX_PREFIX, path) for path, module in flux.named_modules() if isinstance(module, nn.Linear)]
    assert Counter(name for module in linears for name in LAYER_NAMES.diffusers_modules(module)) == Counter(theirs)


@pytest.mark.parametrize("module", KOHYA_MODULES)
def test_module_of_kohya_converted_to_diffusers_and_back_is_same(module):
    owners = LAYER_NAMES.diffusers_modules(module)
    assert owners
    assert [LAYER_NAMES.kohya_module(owner) for owner in owners] == [(module, index) for index in range(len(owners))]


def test_kohya_key_list_covers_every_lora_layer_of_blocks():
    layers = {f"{stack.name}.0.{layer.name}" for stack in LAYER_NAMES.stacks[1:] for layer in stack.layers if not layer.is_norm}
    assert {kohya_name(FLUX_PREFIX, layer) for layer in layers} <= set(KOHYA_MODULES)


def test_part_rows_of_fused_layers_are_rows_that_diffusers_has():
    flux = random_flux(guidance_embed=True)
    theirs = flux_in_diffusers(flux.state_dict(), flux.params)
    for path, linear in flux.named_modules():
        if isinstance(linear, nn.Linear):
            module = kohya_name(FLUX_PREFIX, path)
            owners = [owner.removeprefix("transformer.") for owner in LAYER_NAMES.diffusers_modules(module)]
            rows = LAYER_NAMES.layer_at(module).part_rows(linear.in_features, linear.out_features)
            assert rows == [theirs.get_submodule(owner).out_features for owner in owners]


@pytest.mark.parametrize(
    "module", ["lora_unet_double_blocks_0_img_attn_norm_query_norm", "lora_unet_down_blocks_0", "lora_te2_text_model_x", "img_in"]
)
def test_module_of_another_model_has_no_name(module):
    assert LAYER_NAMES.diffusers_modules(module) == ()
    assert LAYER_NAMES.layer_at(module) is None


@pytest.mark.parametrize("owner", ["transformer.transformer_blocks.0.attn.norm_q", "unet.down_blocks.0", "transformer.proj_mlp"])
def test_diffusers_module_of_another_model_has_no_name(owner):
    assert LAYER_NAMES.kohya_module(owner) is None
