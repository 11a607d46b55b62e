"""The arithmetic of a LoRA beside a frozen Linear, in as few passes over the large activations as it can be done."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def add_lora(out: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float, dropout: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Return out + scale * up(down(x)): (..., O) and (..., I) with down (R, I) and up (O, R) -> (..., O), in out's dtype.

    The scale goes into the (…, R) product between the two, and the sum into the second product: nothing as wide as `out` is written but the result.
    `dropout` drops values of that narrow product.
    """
    narrow = F.linear(x, down.to(x.dtype)) * scale
    narrow = narrow if dropout is None else dropout(narrow)
    sum_TO = torch.addmm(out.flatten(0, -2), narrow.flatten(0, -2).to(out.dtype), up.t().to(out.dtype))
    return sum_TO.view_as(out)
