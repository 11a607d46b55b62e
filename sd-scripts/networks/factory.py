"""Creates the configured network and its parameter groups."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from fluxgym.contract.limits import MAX_RANK
from library.config import NetworkConfig, NetworkModule, OptimConfig, TrainerConfig
from library.errors import TrainerError
from library.models.family import TRANSFORMER, LoRAPart, Part
from networks import lycoris_kohya
from networks.base import LoRANetwork, TrainedNetwork
from networks.lora_file import read_lora
from networks.lora_flux import LoRASpec, create_network
from networks.network_args import LoRAOptions, check_rank, parse_network_args, warn_ineffective_args

Groups = dict[float, list[nn.Parameter]]
Parts = Mapping[Part, LoRAPart]  # of a model family
T5_SWITCH = "train_t5xxl"


def check(config: TrainerConfig) -> None:
    """Refuse settings of the network that cannot be trained.

    Raises:
        TrainerError: If flags or --network_args are unknown or contradict each other, or a package is not installed.
    """
    if config.network.network_module == NetworkModule.LYCORIS:
        lycoris_kohya.check(config.network, config.save.save_keys)
    else:
        check_rank(config.network.network_dim, MAX_RANK)
    trains_t5 = _is_on(config.network, T5_SWITCH)
    _check_parts(config.network)
    if trains_t5 and config.data.cache_text_encoder_outputs:
        raise TrainerError("--network_args train_t5xxl=True trains what --cache_text_encoder_outputs keeps fixed; leave one of them out.")
    if config.placement.torch_compile and _has_dropout(config.network):
        raise TrainerError(
            "--torch_compile and dropout in the network exclude each other: each step would be compiled again; leave one out."
        )


def trained_parts(config: NetworkConfig, parts: Parts) -> frozenset[Part]:
    """Return which parts of a model family a network's settings train."""
    return frozenset(part for part, names in parts.items() if _is_trained(config, part, names))


def _is_trained(config: NetworkConfig, part: Part, names: LoRAPart) -> bool:
    is_left_out = config.network_train_text_encoder_only if part == TRANSFORMER else config.network_train_unet_only
    return not is_left_out and (names.switch is None or _is_on(config, names.switch))


def _is_on(config: NetworkConfig, switch: str) -> bool:
    """Return True if a switch of --network_args is on; LyCORIS has none that choose parts."""
    return config.network_module == NetworkModule.LORA and bool(getattr(parse_network_args(config.network_args), switch))


def _check_parts(config: NetworkConfig) -> None:
    if config.network_train_unet_only and config.network_train_text_encoder_only:
        raise TrainerError("--network_train_unet_only and --network_train_text_encoder_only contradict each other; give one of them.")
    if config.network_train_unet_only and _is_on(config, T5_SWITCH):
        raise TrainerError("--network_train_unet_only and --network_args train_t5xxl=True contradict each other; give one of them.")
    if not 0 <= config.network_dropout < 1:
        raise TrainerError(f"--network_dropout {config.network_dropout} must be at least 0 and below 1.")
    if config.dim_from_weights and not config.network_weights:
        raise TrainerError("--dim_from_weights reads the ranks from --network_weights, which is missing.")


def _has_dropout(config: NetworkConfig) -> bool:
    """Return True if our LoRA modules have dropout; False for LyCORIS, which implements its own."""
    if config.network_module == NetworkModule.LYCORIS:
        return False
    options = parse_network_args(config.network_args)
    return bool(config.network_dropout or options.rank_dropout or options.module_dropout)


def create(config: NetworkConfig, parts: Parts, models: Mapping[Part, nn.Module], *, seed: int) -> TrainedNetwork:
    """Create the configured network over those of `models` that are trained, on their devices, and load --network_weights.

    `models` are the transformer, and the text encoders that are in memory. Raises TrainerError if the configuration does not fit the models.
    """
    warn_ineffective_args(config.network_args)
    train = trained_parts(config, parts) & models.keys()
    if config.network_module == NetworkModule.LYCORIS:
        encoders = [models[part] for part in parts if part in train - {TRANSFORMER}]
        network: TrainedNetwork = lycoris_kohya.create(
            config, models[TRANSFORMER], encoders, trains_transformer=TRANSFORMER in train, seed=seed
        )
    else:
        network = _create_lora(config, {names.prefix: models[part] for part, names in parts.items() if part in train}, seed)
    if not any(network.trainable_parameters(names.prefix) for names in parts.values()):
        raise TrainerError("nothing would be trained: the flags and --network_args leave out every layer of the models.")
    return network


def _create_lora(config: NetworkConfig, models: Mapping[str, nn.Module], seed: int) -> LoRANetwork:
    initial = read_lora(config.network_weights, "--network_weights") if config.network_weights else None
    spec = LoRASpec(
        rank=config.network_dim,
        alpha=config.network_alpha,
        dropout=config.network_dropout,
        max_norm=config.scale_weight_norms,
        ranks=initial.ranks() if initial and config.dim_from_weights else None,
        options=parse_network_args(config.network_args),
    )
    network = create_network(models, spec, seed=seed)
    if initial:
        network.load_matching_weights(initial.tensors, config.network_weights)
    return network


def parameter_groups(config: OptimConfig, network: TrainedNetwork, parts: Parts) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups in the order of the parts; groups with a learning rate of 0 are frozen and omitted.

    network_reg_lrs overrides the learning rate by module name, and LoRA+ multiplies that of the up factors.
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
