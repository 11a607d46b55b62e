"""torch.compile for the transformer's blocks, by kohya's --torch_compile and --dynamo_backend.

Not on by default: on the work "mini" compiled blocks took as long as ours do uncompiled (docs/performance.md), since norms, rotation, modulation
and the LoRA are few passes already, and products and attention are the same kernels; the compiling itself took as long as tens of steps.

Compiled code rounds otherwise than uncompiled code. So that a resumed training is bit for bit the uninterrupted one, the backend in use is one
of the settings that a checkpoint is bound to, and each shape is compiled for itself: code that PyTorch generalises at the second shape it meets
would depend on which came first, and a resumed training meets them in another order.
"""

import os
import shutil
from collections.abc import Iterable

import torch
from torch import nn

from library.config import PlacementConfig
from library.errors import TrainerError, warn

COMPILERS = ("c++", "g++", "clang++")
MAX_VARIANTS = 4096  # blocks times shapes; PyTorch's own limit of 8 would silently go on uncompiled


def compile_blocks(blocks: Iterable[nn.Module], config: PlacementConfig, device: torch.device) -> str | None:
    """Have every block compiled when it first runs, if --torch_compile requests it; return the backend, None if nothing is compiled.

    Inductor on a CPU needs a C++ compiler; without one a warning is printed and nothing is compiled.

    Raises:
        TrainerError: If this PyTorch does not have the backend.
    """
    if not config.torch_compile:
        return None
    if backend_of(config, device) is None:
        warn("--torch_compile needs a C++ compiler on a CPU and found none; the blocks run uncompiled.")
        return None
    check_backend(config)
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MAX_VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in blocks:
        block.compile(backend=config.dynamo_backend, dynamic=False)
    return config.dynamo_backend


def check_backend(config: PlacementConfig) -> None:
    """Raise TrainerError if this PyTorch does not have the backend."""
    if not config.torch_compile:
        return
    import torch._dynamo  # takes two seconds

    if config.dynamo_backend not in torch._dynamo.list_backends(exclude_tags=()):
        raise TrainerError(f"--dynamo_backend {config.dynamo_backend} is not one of this PyTorch's; use inductor.")


def backend_of(config: PlacementConfig, device: torch.device) -> str | None:
    """Return the backend that compiles the blocks, None if nothing does."""
    lacks_compiler = config.dynamo_backend == "inductor" and device.type == "cpu" and not _has_compiler()
    return config.dynamo_backend if config.torch_compile and not lacks_compiler else None


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name)
