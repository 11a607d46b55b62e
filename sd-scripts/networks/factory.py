"""Creates the configured network and its parameter groups."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from library.config import NetworkConfig, NetworkModule, OptimConfig
from library.errors import TrainerError
from library.models.family import TRANSFORMER, LoRAPart, Part
from library.weights.safetensors_file import open_weights
from networks import lycoris_kohya
from networks.base import LoRANetwork, TrainedNetwork
from networks.lora_file import LoRAFile, read_lora
from networks.lora_flux import LoRASpec, create_network
from networks.network_args import LoRAOptions, parse_network_args, warn_of_network_args
from networks.network_checks import is_on

Groups = dict[float, list[nn.Parameter]]
Parts = Mapping[Part, LoRAPart]  # of a model family


def trained_parts(config: NetworkConfig, parts: Parts) -> frozenset[Part]:
    """Return which parts of a model family a network's settings train."""
    return frozenset(part for part, names in parts.items() if _is_trained(config, part, names))


def _is_trained(config: NetworkConfig, part: Part, names: LoRAPart) -> bool:
    is_left_out = config.network_train_text_encoder_only if part == TRANSFORMER else config.network_train_unet_only
    return not is_left_out and (names.switch is None or is_on(config, names.switch))


def check_fit(config: NetworkConfig, parts: Parts, models: Mapping[Part, nn.Module]) -> None:
    """Check that a configured network fits its models, given without weights (FamilyOf.empty_models), before `create` needs loaded ones.

    For LyCORIS, only --network_weights is checked: its package needs real weights to create a network.

    Raises:
        TrainerError: If the models lack a block, nothing would be trained, or --network_weights cannot be read or fits no layer.
    """
    if config.network_module == NetworkModule.LYCORIS:
        if config.network_weights:
            open_weights(config.network_weights, "--network_weights")
        return
    initial = read_lora(config.network_weights, "--network_weights") if config.network_weights else None
    options = replace(parse_network_args(config.network_args), verbose=False)
    with torch.device("meta"):
        network = create_network(_by_prefix(config, parts, models), _spec(config, initial, options), seed=0)
    _check_trains(network, parts)
    if initial:
        network.check_matching_weights(initial.tensors, config.network_weights)


def create(config: NetworkConfig, parts: Parts, models: Mapping[Part, nn.Module], *, seed: int) -> TrainedNetwork:
    """Create the configured network over the models that it trains, on their devices, and load --network_weights.

    `models` are the transformer and the text encoders in memory.

    Raises:
        TrainerError: If the configuration does not fit the models.
    """
    warn_of_network_args(config.network_args)
    train = trained_parts(config, parts) & models.keys()
    if config.network_module == NetworkModule.LYCORIS:
        encoders = [models[part] for part in parts if part in train - {TRANSFORMER}]
        network: TrainedNetwork = lycoris_kohya.create(
            config, models[TRANSFORMER], encoders, trains_transformer=TRANSFORMER in train, seed=seed
        )
    else:
        network = _create_lora(config, _by_prefix(config, parts, models), seed)
    _check_trains(network, parts)
    return network


def _by_prefix(config: NetworkConfig, parts: Parts, models: Mapping[Part, nn.Module]) -> dict[str, nn.Module]:
    """Return the models that are trained, by kohya's prefix."""
    train = trained_parts(config, parts) & models.keys()
    return {names.prefix: models[part] for part, names in parts.items() if part in train}


def _check_trains(network: TrainedNetwork, parts: Parts) -> None:
    if not any(network.trainable_parameters(names.prefix) for names in parts.values()):
        raise TrainerError("nothing would be trained: the flags and --network_args leave out every layer of the models.")


def _create_lora(config: NetworkConfig, models: Mapping[str, nn.Module], seed: int) -> LoRANetwork:
    initial = read_lora(config.network_weights, "--network_weights") if config.network_weights else None
    network = create_network(models, _spec(config, initial, parse_network_args(config.network_args)), seed=seed)
    if initial:
        network.load_matching_weights(initial.tensors, config.network_weights)
    return network


def _spec(config: NetworkConfig, initial: LoRAFile | None, options: LoRAOptions) -> LoRASpec:
    return LoRASpec(
        rank=config.network_dim,
        alpha=config.network_alpha,
        dropout=config.network_dropout,
        max_norm=config.scale_weight_norms,
        ranks=initial.ranks() if initial and config.dim_from_weights else None,
        options=options,
    )


def parameter_groups(config: OptimConfig, network: TrainedNetwork, parts: Parts) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups in the order of the parts; groups with a learning rate of 0 are frozen and omitted.

    network_reg_lrs overrides the learning rate by module name, and LoRA+ multiplies the learning rate of the up factors.
    """
    groups: list[dict[str, Any]] = []
    for part, names in parts.items():
        by_rate: Groups = {}
        ratio = loraplus_ratio(part, network.options)
        for name, parameter in network.trainable_parameters(names.prefix).items():
            rate = _rate_of_module(name, config.rate(names.rate_flag, names.rate_index), network.options)
            by_rate.setdefault(rate * ratio if "lora_up" in name else rate, []).append(parameter)
        labels = [names.log_name, *(f"{names.log_name} {number}" for number in range(2, len(by_rate) + 1))]
        groups += [{"params": each, "lr": own, "name": label} for label, (own, each) in zip(labels, by_rate.items(), strict=False)]
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(group["lr"] > 0)
    return [group for group in groups if group["lr"] > 0]


def _rate_of_module(name: str, rate: float, options: LoRAOptions) -> float:
    return next((own for pattern, own in options.network_reg_lrs if re.search(pattern, name.split(".")[0])), rate)


def loraplus_ratio(part: Part, options: LoRAOptions) -> float:
    """Return LoRA+'s ratio for the learning rate of the up factors; 1 by default."""
    own = options.loraplus_unet_lr_ratio if part == TRANSFORMER else options.loraplus_text_encoder_lr_ratio
    return own or options.loraplus_lr_ratio or 1.0
