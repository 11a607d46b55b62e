"""The flags make the network that they name; contradictions are refused before any model is loaded."""

import pytest
import torch
from safetensors.torch import save_file

from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from networks import factory
from networks.lora_flux import create_network
from networks.lora_keys import to_diffusers
from tests.support.lora import randomize_lora
from tests.support.tiny_models import PARAMS, flux_inputs, make_clip, make_flux, make_t5
from tests.support.trainer_config import trainer_config


def config_of(*network_args, **flags):
    return trainer_config(**{"network_args": network_args, "network_dim": 4, "network_alpha": 2.0, "seed": 3} | flags)


def create(config, flux, clip=None, t5=None):
    models = {CLIP_PREFIX: clip, T5_PREFIX: t5}
    return factory.create(config.network, flux, {prefix: model for prefix, model in models.items() if model}, seed=config.run.seed)


def trained(*network_args, **changes):
    network = create(config_of(*network_args, **changes), make_flux(), make_clip(), make_t5())
    return {prefix for prefix in factory.PREFIXES if network.trainable_parameters(prefix)}


def test_the_flags_choose_the_parts():
    assert trained() == {FLUX_PREFIX, CLIP_PREFIX}
    assert trained(network_train_unet_only=True) == {FLUX_PREFIX}
    assert trained(network_train_text_encoder_only=True) == {CLIP_PREFIX}
    assert trained("train_t5xxl=True") == {FLUX_PREFIX, CLIP_PREFIX, T5_PREFIX}
    assert trained("train_t5xxl=True", network_train_text_encoder_only=True) == {CLIP_PREFIX, T5_PREFIX}


def test_dropout_norm_and_rank_come_from_the_flags(capsys):
    network = create(config_of("conv_dim=4", "rank_dropout=0.2", network_dropout=0.1, scale_weight_norms=1.0), make_flux())
    assert network.max_norm == 1.0
    assert (network.loras[0].dropout.rates.neuron, network.loras[0].dropout.rates.rank) == (0.1, 0.2)
    assert network.loras[0].rank == 4
    assert "conv_dim has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@torch.no_grad()
def test_ranks_and_weights_come_from_a_file_of_either_form(form, tmp_path):
    source = make_flux()
    network = create_network(source, None, rank=6, alpha=3.0, seed=5, img_attn_dim=2, train_blocks="double")
    randomize_lora(network)
    weights = network.weights()
    save_file(to_diffusers(weights) if form == "diffusers" else weights, tmp_path / "old.safetensors")
    flux = make_flux()
    config = config_of(dim_from_weights=True, network_weights=str(tmp_path / "old.safetensors"))
    created = create(config, flux, make_clip())
    assert {lora.name: (lora.rank, lora.scale) for lora in created.loras} == {lora.name: (lora.rank, lora.scale) for lora in network.loras}
    assert torch.allclose(flux(**flux_inputs(PARAMS)), source(**flux_inputs(PARAMS)), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network_train_unet_only": True, "network_train_text_encoder_only": True}, "--network_train_text_encoder_only"),
        ({"network_train_unet_only": True, "network_args": ["train_t5xxl=True"]}, "train_t5xxl"),
        ({"cache_text_encoder_outputs": True, "network_args": ["train_t5xxl=True"]}, "--cache_text_encoder_outputs"),
        ({"network_dropout": 1.0}, "--network_dropout 1.0"),
        ({"dim_from_weights": True}, "--network_weights"),
        ({"torch_compile": True, "network_dropout": 0.1}, "--torch_compile and dropout"),
        ({"torch_compile": True, "network_args": ["module_dropout=0.1"]}, "--torch_compile and dropout"),
        ({"network_args": ["img_attn=4"]}, "img_attn=4"),
    ],
)
def test_what_contradicts_itself_is_named(changes, named):
    with pytest.raises(TrainerError, match=named):
        factory.plan(config_of(**changes))


def test_a_network_of_nothing_is_refused():
    nothing = ["train_double_block_indices=none", "train_single_block_indices=none"]
    with pytest.raises(TrainerError, match="nothing would be trained"):
        create(config_of(*nothing, network_train_unet_only=True), make_flux())
