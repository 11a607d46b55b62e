"""Which trainable tensors learn at which rate: --unet_lr, --text_encoder_lr, LoRA+ and rates by name.

Owns the split into the optimizer's groups. What is in no group is frozen, so that it costs no gradient.
"""

import re
from argparse import Namespace
from typing import Any

from torch import nn

from networks.network import CLIP_PREFIX, FLUX_PREFIX, T5_PREFIX, TrainedNetwork
from networks.network_args import LoRAOptions

NAMES = {FLUX_PREFIX: "unet", CLIP_PREFIX: "textencoder", T5_PREFIX: "textencoder 2"}  # kohya's names of their curves
Groups = dict[float, list[nn.Parameter]]


def parameter_groups(args: Namespace, network: TrainedNetwork) -> list[dict[str, Any]]:
    """Return the optimizer's groups, FLUX's first; a rate of 0 trains nothing, and freezes.

    --unet_lr and --text_encoder_lr (CLIP-L, T5; one value is for both) overrule --learning_rate. network_reg_lrs overrules these by module
    name, and LoRA+ multiplies the rate of the up factors.
    """
    options, groups = network.options, []
    for prefix, rate in learning_rates(args).items():
        by_rate: Groups = {}
        for name, parameter in network.named_factors(prefix).items():
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
