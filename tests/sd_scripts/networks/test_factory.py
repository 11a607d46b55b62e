"""The flags make the network that they name; contradictions are refused before any model is loaded."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from library.config import RateFlag
from library.errors import TrainerError
from library.models.family import TRANSFORMER, LoRAPart, Part
from library.models.flux1.family import LORA_PARTS, Flux1Family
from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.text_encoders import CLIP, T5
from networks import factory
from networks.base import TrainedNetwork
from networks.lora_flux import LoRASpec, create_network
from networks.lora_keys import to_diffusers
from networks.network_args import LoRAOptions
from tests.support.lora import randomize_lora
from tests.support.tiny_models import NAMES, PARAMS, flux_inputs, make_clip, make_flux, make_t5, write_tiny_models
from tests.support.trainer_config import trainer_config


class OneParameterPerPart(TrainedNetwork):
    """A network of another family's parts, of which only the parameters matter."""

    def __init__(self, **given):
        super().__init__(**given)
        self.parts = {prefix: nn.Parameter(torch.zeros(1)) for prefix in ("lora_dit", "lora_qwen")}

    def trainable_parameters(self, prefix):
        return {f"{prefix}_a.weight": self.parts[prefix]}

    def state(self):
        return {}

    def load_weights(self, weights):
        """Do nothing."""

    def set_multiplier(self, multiplier):
        """Do nothing."""

    def start_micro_step(self, step, micro):
        """Do nothing."""

    def after_step(self):
        """Do nothing."""


FILES = ("pretrained_model_name_or_path", "clip_l", "t5xxl")


def config_of(*network_args, **flags):
    return trainer_config(**{"network_args": network_args, "network_dim": 4, "network_alpha": 2.0, "seed": 3} | flags)


def create(config, flux, clip=None, t5=None):
    models = {TRANSFORMER: flux, CLIP: clip, T5: t5}
    return factory.create(config.network, LORA_PARTS, {part: model for part, model in models.items() if model}, seed=config.run.seed)


def trained(*network_args, **changes):
    config = config_of(*network_args, **changes)
    network = create(config, make_flux(), make_clip(), make_t5())
    found = {part for part, names in LORA_PARTS.items() if network.trainable_parameters(names.prefix)}
    assert found == factory.trained_parts(config.network, LORA_PARTS)
    return found


def test_flags_select_trained_models():
    assert trained() == {TRANSFORMER, CLIP}
    assert trained(network_train_unet_only=True) == {TRANSFORMER}
    assert trained(network_train_text_encoder_only=True) == {CLIP}
    assert trained("train_t5xxl=True") == {TRANSFORMER, CLIP, T5}
    assert trained("train_t5xxl=True", network_train_text_encoder_only=True) == {CLIP, T5}


def test_parts_of_another_family_are_chosen_by_their_own_data():
    encoder = Part("qwen")
    parts = {
        TRANSFORMER: LoRAPart(prefix="lora_dit", log_name="dit", rate_flag=RateFlag.UNET),
        encoder: LoRAPart(prefix="lora_qwen", log_name="qwen", rate_flag=RateFlag.TEXT_ENCODER, rate_index=1),
    }
    config = config_of(text_encoder_lr=[1e-4, 1e-5], unet_lr=1e-3)
    assert factory.trained_parts(config.network, parts) == {TRANSFORMER, encoder}
    assert factory.trained_parts(config_of(network_train_unet_only=True).network, parts) == {TRANSFORMER}
    network = OneParameterPerPart(max_norm=0.0, options=LoRAOptions())
    groups = factory.parameter_groups(config.optim, network, parts)
    assert [(group["name"], group["lr"]) for group in groups] == [("dit", 1e-3), ("qwen", 1e-5)]
    assert [group["params"][0] for group in groups] == [network.parts["lora_dit"], network.parts["lora_qwen"]]


def test_dropout_norm_and_rank_come_from_flags(capsys):
    network = create(config_of("conv_dim=4", "rank_dropout=0.2", network_dropout=0.1, scale_weight_norms=1.0), make_flux())
    assert network.max_norm == 1.0
    assert (network.loras[0].dropout.rates.neuron, network.loras[0].dropout.rates.rank) == (0.1, 0.2)
    assert network.loras[0].rank == 4
    assert "conv_dim has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@torch.no_grad()
def test_ranks_and_weights_come_from_file_of_either_form(form, tmp_path):
    source = make_flux()
    network = create_network(
        {FLUX_PREFIX: source}, LoRASpec(rank=6, alpha=3.0, options=LoRAOptions(img_attn_dim=2, train_blocks="double")), seed=5
    )
    randomize_lora(network)
    weights = network.weights()
    save_file(to_diffusers(weights) if form == "diffusers" else weights, tmp_path / "old.safetensors")
    flux = make_flux()
    config = config_of(dim_from_weights=True, network_weights=str(tmp_path / "old.safetensors"))
    created = create(config, flux, make_clip())
    assert {lora.name: (lora.rank, lora.scale) for lora in created.loras} == {lora.name: (lora.rank, lora.scale) for lora in network.loras}
    assert torch.allclose(flux(**flux_inputs(PARAMS)), source(**flux_inputs(PARAMS)), atol=1e-6)


def test_network_without_modules_is_refused():
    nothing = ["train_double_block_indices=none", "train_single_block_indices=none"]
    with pytest.raises(TrainerError, match="nothing would be trained"):
        create(config_of(*nothing, network_train_unet_only=True), make_flux())


EVERY_PART = frozenset({TRANSFORMER, CLIP, T5})


@pytest.mark.parametrize("network_args", [(), ("train_t5xxl=True", "split_qkv=True"), ("in_dims=1,1,1,1,1", "verbose=True")])
def test_network_fits_models_without_weights_if_it_fits_those_with(network_args, tmp_path, capsys):
    network = create(config_of(*network_args), make_flux(), make_clip(), make_t5())
    save_file(network.weights(), tmp_path / "old.safetensors")
    capsys.readouterr()
    files = trainer_config(**{flag: str(path) for flag, path in zip(FILES, write_models(tmp_path), strict=True)}).model
    config = config_of(*network_args, network_weights=str(tmp_path / "old.safetensors"))
    factory.check_fit(config.network, LORA_PARTS, Flux1Family("dev").empty_models(files, EVERY_PART))
    assert capsys.readouterr() == ("", "")
    with pytest.raises(TrainerError, match="does not fit this network"):
        other = config_of(*network_args, network_weights=str(tmp_path / "old.safetensors"), network_dim=3)
        factory.check_fit(other.network, LORA_PARTS, Flux1Family("dev").empty_models(files, EVERY_PART))


def write_models(folder):
    """Write the tiny models; returns the files of transformer, CLIP and T5."""
    write_tiny_models(folder)
    return [folder / NAMES[name] for name in ("flux", "clip_l", "t5xxl")]
