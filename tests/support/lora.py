"""LoRA weights and settings for tests."""

from argparse import Namespace

import torch

LORA_MODULE = "lora_unet_double_blocks_0_img_attn_proj"


def randomize_lora(network):
    """Give every up matrix random weights, so that the network changes its model's output."""
    random = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for up in (up for lora in network.loras for _, up in lora.factors()):
            up.copy_(torch.randn(up.shape, generator=random) * 0.5)


def lycoris_args(*network_args, **changes):
    """Return the parsed arguments of a LyCORIS network, with changes."""
    defaults = {
        "network_module": "lycoris.kohya", "network_args": list(network_args), "network_dim": 4, "network_alpha": 2.0, "network_dropout": None,
        "network_weights": None, "dim_from_weights": False, "network_train_unet_only": False, "network_train_text_encoder_only": False,
        "cache_text_encoder_outputs": False, "scale_weight_norms": None, "save_keys": "kohya", "seed": 3, "learning_rate": 1e-2, "unet_lr": None,
        "text_encoder_lr": None, "torch_compile": False,
    }  # fmt: skip
    return Namespace(**(defaults | changes))


def lora_tensors(**changes):
    """Return the tensors of a LoRA file with one module of rank 2, with changed leaves."""
    plain = {"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2), "alpha": torch.tensor(1.0)}
    return {f"{LORA_MODULE}.{leaf}": tensor for leaf, tensor in (plain | changes).items()}
