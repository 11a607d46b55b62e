"""Gradient checkpointing that makes again only what is cheap: products of large matrices and attention are kept where memory allows it.

Full checkpointing runs each block's forward twice. Most of that time goes into the frozen Linears and attention, whose results are few; the
rest (norms, modulation, rotation, activation, the LoRA's narrow products) is many tensors that are quickly made again.
"""

from functools import partial

import psutil
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

SHARE_OF_MEMORY = 0.25
WORTH_KEEPING = 64  # multiply-adds behind each number of a product: a LoRA's rank lies below, a model's width far above

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default: 0, _aten.addmm.default: 1, _aten.bmm.default: 0}  # the place of the left factor among the arguments
_ATTENTIONS = {
    _aten._scaled_dot_product_flash_attention_for_cpu.default, _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default, _aten._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip


def products_budget(device: torch.device) -> int:
    """Return how many bytes of products checkpointing may keep: a quarter of the host memory that is free now, and none on a GPU.

    Whether they are kept changes no bit of any result, so a resumed training may decide otherwise. On a GPU memory is what checkpointing is
    asked for; keeping them where a card has room waits for a measurement on one (bench/trainer_gpu.py).
    """
    return int(psutil.virtual_memory().available * SHARE_OF_MEMORY) if device.type == "cpu" else 0


def run_checkpointed(block: nn.Module, *args: object, keeps_products: bool) -> object:
    """Run a block so that its activations are made again in the backward pass; `keeps_products` spares the products and the attention."""
    if not keeps_products:
        return checkpoint(block, *args, use_reentrant=False)
    return checkpoint(block, *args, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, _policy))


def _policy(_context: object, op: object, *args: object, **_: object) -> CheckpointPolicy:
    if op in _ATTENTIONS:
        return CheckpointPolicy.MUST_SAVE
    if op in _PRODUCTS:
        left = args[_PRODUCTS[op]]
        if isinstance(left, Tensor) and left.shape[-1] >= WORTH_KEEPING and left.shape[0] >= WORTH_KEEPING:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
