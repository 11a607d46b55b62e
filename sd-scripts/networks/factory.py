"""Creates the configured network and its parameter groups."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from library.config import NetworkConfig, NetworkModule, OptimConfig, TrainerConfig
from library.errors import TrainerError
from library.models.family import Part
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from networks import lycoris_kohya
from networks.base import LoRANetwork, TrainedNetwork
from networks.lora_file import read_lora
from networks.lora_flux import LoRASpec, create_network
from networks.network_args import LoRAOptions, parse_network_args, warn_ineffective_args

PREFIXES = (FLUX_PREFIX, CLIP_PREFIX, T5_PREFIX)
NAMES = {FLUX_PREFIX: "unet", CLIP_PREFIX: "textencoder", T5_PREFIX: "textencoder 2"}  # kohya's names in logs of learning rates
Groups = dict[float, list[nn.Parameter]]


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """The selection of the models that get trainable modules."""

    trains_flux: bool
    trains_clip: bool
    trains_t5: bool

    def parts(self, prefixes: Mapping[Part, str]) -> frozenset[Part]:
        """Return the trained parts of a family, which has these prefixes of module names."""
        trained = {FLUX_PREFIX: self.trains_flux, CLIP_PREFIX: self.trains_clip, T5_PREFIX: self.trains_t5}
        return frozenset(part for part, prefix in prefixes.items() if trained.get(prefix, False))


def plan(config: TrainerConfig) -> NetworkPlan:
    """Return which models are trained.

    Raises:
        TrainerError: If flags or --network_args are unknown or contradict each other, or a package is not installed.
    """
    if config.network.network_module == NetworkModule.LYCORIS:
        lycoris_kohya.check(config.network, config.save.save_keys)
    parts = parts_of(config.network)
    _check_parts(config.network)
    if parts.trains_t5 and config.data.cache_text_encoder_outputs:
        raise TrainerError("--network_args train_t5xxl=True trains what --cache_text_encoder_outputs keeps fixed; leave one of them out.")
    if config.placement.torch_compile and _has_dropout(config.network):
        raise TrainerError(
            "--torch_compile and dropout in the network exclude each other: each step would be compiled again; leave one out."
        )
    return parts


def parts_of(config: NetworkConfig) -> NetworkPlan:
    """Return which models a network's settings train."""
    return NetworkPlan(
        trains_flux=not config.network_train_text_encoder_only,
        trains_clip=not config.network_train_unet_only,
        trains_t5=config.network_module == NetworkModule.LORA and parse_network_args(config.network_args).train_t5xxl,
    )


def _check_parts(config: NetworkConfig) -> None:
    if config.network_train_unet_only and config.network_train_text_encoder_only:
        raise TrainerError("--network_train_unet_only and --network_train_text_encoder_only contradict each other; give one of them.")
    if config.network_train_unet_only and parts_of(config).trains_t5:
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


def create(config: NetworkConfig, flux: nn.Module, text_encoders: Mapping[str, nn.Module], *, seed: int) -> TrainedNetwork:
    """Create the configured network over the trained models, on their devices, and load --network_weights.

    `text_encoders` are by the prefix of their module names, and used only if they are trained. Raises TrainerError if the configuration does not
    fit the models.
    """
    parts = parts_of(config)
    warn_ineffective_args(config.network_args)
    clip = text_encoders.get(CLIP_PREFIX) if parts.trains_clip else None
    t5 = text_encoders.get(T5_PREFIX) if parts.trains_t5 else None
    if config.network_module == NetworkModule.LYCORIS:
        network: TrainedNetwork = lycoris_kohya.create(config, flux, clip, trains_flux=parts.trains_flux, seed=seed)
    else:
        models = {FLUX_PREFIX: flux if parts.trains_flux else None, CLIP_PREFIX: clip, T5_PREFIX: t5}
        network = _create_lora(config, {prefix: model for prefix, model in models.items() if model is not None}, seed)
    if not any(network.trainable_parameters(prefix) for prefix in PREFIXES):
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


def parameter_groups(config: OptimConfig, network: TrainedNetwork) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups, FLUX's first; groups with a learning rate of 0 are frozen and omitted.

    network_reg_lrs overrides the learning rate by module name, and LoRA+ multiplies that of the up factors.
    """
    groups: list[dict[str, Any]] = []
    for prefix, rate in ((FLUX_PREFIX, config.unet_lr), (CLIP_PREFIX, config.clip_lr), (T5_PREFIX, config.t5_lr)):
        by_rate: Groups = {}
        for name, parameter in network.trainable_parameters(prefix).items():
            by_rate.setdefault(_rate_of(name, prefix, rate, network.options), []).append(parameter)
        names = [NAMES[prefix], *(f"{NAMES[prefix]} {number}" for number in range(2, len(by_rate) + 1))]
        groups += [{"params": each, "lr": own, "name": name} for name, (own, each) in zip(names, by_rate.items(), strict=False)]
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(group["lr"] > 0)
    return [group for group in groups if group["lr"] > 0]


def _rate_of(name: str, prefix: str, rate: float, options: LoRAOptions) -> float:
    own = next((each for pattern, each in options.network_reg_lrs if re.search(pattern, name.split(".")[0])), rate)
    return own * loraplus_ratio(prefix, options) if "lora_up" in name else own


def loraplus_ratio(prefix: str, options: LoRAOptions) -> float:
    """Return LoRA+'s ratio for the learning rate of the up factors; 1 by default."""
    own = options.loraplus_unet_lr_ratio if prefix == FLUX_PREFIX else options.loraplus_text_encoder_lr_ratio
    return own or options.loraplus_lr_ratio or 1.0
