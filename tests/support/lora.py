"""LoRA weights and settings for tests."""

import torch

LORA_MODULE = "lora_unet_double_blocks_0_img_attn_proj"


def randomize_lora(network):
    """Give every up matrix random weights, so that the network changes its model's output."""
    random = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for up in (up for lora in network.loras for _, up in lora.factors()):
            up.copy_(torch.randn(up.shape, generator=random) * 0.5)


def lora_tensors(**changes):
    """Return the tensors of a LoRA file with one module of rank 2, with changed leaves."""
    plain = {"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2), "alpha": torch.tensor(1.0)}
    return {f"{LORA_MODULE}.{leaf}": tensor for leaf, tensor in (plain | changes).items()}
