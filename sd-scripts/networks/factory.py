"""From flags to the network that is trained, and its parameter groups."""

import re
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from library.config import NetworkModule
from library.errors import TrainerError
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX
from networks import lycoris_kohya
from networks.base import TrainedNetwork
from networks.lora_file import read_lora
from networks.lora_flux import LoRANetwork, create_network
from networks.lora_keys import to_diffusers
from networks.network_args import LoRAOptions, parse_network_args, warn_of_args_without_effect

PREFIXES = (FLUX_PREFIX, CLIP_PREFIX, T5_PREFIX)
NAMES = {FLUX_PREFIX: "unet", CLIP_PREFIX: "textencoder", T5_PREFIX: "textencoder 2"}  # kohya's names of their curves
Groups = dict[float, list[nn.Parameter]]


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """Which models get trainable modules."""

    trains_flux: bool
    trains_clip: bool
    trains_t5: bool


def plan(args: Namespace) -> NetworkPlan:
    """Say what will be trained.

    Raises TrainerError for flags and --network_args that are unknown or contradict each other, or a package that is not installed.
    """
    if is_lycoris(args):
        lycoris_kohya.check(args)
    trains_t5 = not is_lycoris(args) and parse_network_args(args.network_args).train_t5xxl
    _check(args, trains_t5=trains_t5)
    return NetworkPlan(
        trains_flux=not args.network_train_text_encoder_only, trains_clip=not args.network_train_unet_only, trains_t5=trains_t5
    )


def is_lycoris(args: Namespace) -> bool:
    """Return True if LyCORIS makes the network."""
    return args.network_module == NetworkModule.LYCORIS


def _check(args: Namespace, *, trains_t5: bool) -> None:
    if args.network_train_unet_only and args.network_train_text_encoder_only:
        raise TrainerError("--network_train_unet_only and --network_train_text_encoder_only contradict each other; give one of them.")
    if args.network_train_unet_only and trains_t5:
        raise TrainerError("--network_train_unet_only and --network_args train_t5xxl=True contradict each other; give one of them.")
    if trains_t5 and args.cache_text_encoder_outputs:
        raise TrainerError("--network_args train_t5xxl=True trains what --cache_text_encoder_outputs keeps fixed; leave one of them out.")
    if args.network_dropout is not None and not 0 <= args.network_dropout < 1:
        raise TrainerError(f"--network_dropout {args.network_dropout} must be at least 0 and below 1.")
    if args.torch_compile and not is_lycoris(args) and _has_dropout(args):
        raise TrainerError(
            "--torch_compile and dropout in the network exclude each other: each step would be compiled again; leave one out."
        )
    if args.dim_from_weights and not args.network_weights:
        raise TrainerError("--dim_from_weights reads the ranks from --network_weights, which is missing.")


def _has_dropout(args: Namespace) -> bool:
    options = parse_network_args(args.network_args)
    return bool(args.network_dropout or options.rank_dropout or options.module_dropout)


def create(args: Namespace, flux: nn.Module, clip: nn.Module | None, t5: nn.Module | None) -> TrainedNetwork:
    """Make the network that --network_module names over the models that are trained, on their devices, with --network_weights in it.

    clip and t5 are touched only when they are trained. Raises TrainerError for what does not fit the models.
    """
    part = plan(args)
    warn_of_args_without_effect(args.network_args)
    clip, t5 = clip if part.trains_clip else None, t5 if part.trains_t5 else None
    if is_lycoris(args):
        network = lycoris_kohya.create(args, flux, clip, trains_flux=part.trains_flux)
    else:
        network = _create_lora(args, flux if part.trains_flux else None, clip, t5)
    network.max_norm = args.scale_weight_norms or 0.0
    if not any(network.trainable_parameters(prefix) for prefix in PREFIXES):
        raise TrainerError("nothing would be trained: the flags and --network_args leave out every layer of the models.")
    return network


def _create_lora(args: Namespace, flux: nn.Module | None, clip: nn.Module | None, t5: nn.Module | None) -> LoRANetwork:
    start = read_lora(args.network_weights, "--network_weights") if args.network_weights else None
    network = create_network(
        flux,
        clip,
        t5=t5,
        rank=args.network_dim,
        alpha=args.network_alpha,
        seed=args.seed,
        network_dropout=args.network_dropout or 0.0,
        ranks=start.ranks() if start and args.dim_from_weights else None,
        options=parse_network_args(args.network_args),
    )
    if start:
        network.start_from(start.tensors, args.network_weights)
    return network


def in_form(args: Namespace, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a network's weights under the names that --save_keys chooses."""
    return to_diffusers(weights) if args.save_keys == "diffusers" else weights


def parameter_groups(args: Namespace, network: TrainedNetwork) -> list[dict[str, Any]]:
    """Return the optimizer's groups, FLUX's first; a rate of 0 trains nothing, and freezes.

    --unet_lr and --text_encoder_lr (CLIP-L, T5; one value is for both) overrule --learning_rate. network_reg_lrs overrules these by module
    name, and LoRA+ multiplies the rate of the up factors.
    """
    options, groups = network.options, []
    for prefix, rate in learning_rates(args).items():
        by_rate: Groups = {}
        for name, parameter in network.trainable_parameters(prefix).items():
            own = next((each for pattern, each in options.network_reg_lrs if re.search(pattern, name.split(".")[0])), rate)
            own *= loraplus_ratio(prefix, options) if "lora_up" in name else 1.0
            by_rate.setdefault(own, []).append(parameter)
        names = [NAMES[prefix], *(f"{NAMES[prefix]} {number}" for number in range(2, len(by_rate) + 1))]
        groups += [{"params": each, "lr": own, "name": name} for name, (own, each) in zip(names, by_rate.items(), strict=False)]
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(group["lr"] > 0)
    return [group for group in groups if group["lr"] > 0]


def learning_rates(args: Namespace) -> dict[str, float]:
    """Return the learning rate of each part."""
    base = float(args.learning_rate)
    text = list(args.text_encoder_lr or [base])
    unet = base if args.unet_lr is None else float(args.unet_lr)
    return {FLUX_PREFIX: unet, CLIP_PREFIX: float(text[0]), T5_PREFIX: float(text[min(1, len(text) - 1)])}


def loraplus_ratio(prefix: str, options: LoRAOptions) -> float:
    """Return what the up factors' rate is multiplied with (LoRA+); 1 without."""
    own = options.loraplus_unet_lr_ratio if prefix == FLUX_PREFIX else options.loraplus_text_encoder_lr_ratio
    return own or options.loraplus_lr_ratio or 1.0
