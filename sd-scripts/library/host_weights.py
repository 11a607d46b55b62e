"""How the frozen transformer lies in memory for a training on the CPU.

On a GPU, float8 halves what must fit beside the activations, and casting at every use is cheap. On a CPU the casts take a tenth of each step, and
the original file stays mapped. So the rounding is done once and kept in the dtype that is computed in: the same numbers, cast no more.
"""

import torch
from torch import nn

from library.flux_model import Flux


def cast_float8_once(flux: Flux, dtype: torch.dtype) -> None:
    """Turn what store_in_float8 made of a transformer into plain Linears in `dtype`; every product keeps its exact factors.

    The other tensors are copied out of the mapped file, which lets go of it.
    """
    for parameter in flux.parameters():
        if parameter.dtype != torch.float8_e4m3fn:
            parameter.data = parameter.data.clone()
    for module in flux.modules():
        if isinstance(module, nn.Linear) and module.weight.dtype == torch.float8_e4m3fn:
            module.weight = nn.Parameter(module.weight.to(dtype) * module.weight_scale, requires_grad=False)
            del module.weight_scale, module.forward
