"""torch.compile for the transformer's blocks, by kohya's --torch_compile and --dynamo_backend.

Off by default: in the benchmark "mini", compiled blocks were not faster than uncompiled ones (docs/performance.md), because norms, rotary
embedding, modulation and the LoRA already take few passes, and matrix products and attention use the same kernels. Compilation itself took as
long as tens of steps.

Compiled code rounds differently from uncompiled code. To keep a resumed training bit-identical to an uninterrupted one, a checkpoint records
the backend, and each shape is compiled separately: PyTorch's dynamic shapes would depend on which shape comes first, and a resumed training
sees them in another order.
"""

import os
import shutil
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from library.config import PlacementConfig
from library.errors import OnWarning, TrainerError
from library.failures import first_line

COMPILERS = ("c++", "g++", "clang++")
DEFAULT_BACKEND = "inductor"
MAX_VARIANTS = 4096  # blocks times shapes; PyTorch's default limit of 8 silently falls back to uncompiled code


def compile_blocks(blocks: Iterable[nn.Module], config: PlacementConfig, device: torch.device, on_warning: OnWarning) -> str | None:
    """Compile each block at its first call if --torch_compile is set; return the backend, or None if nothing is compiled.

    Inductor on a CPU needs a C++ compiler; without one, `on_warning` is called and nothing is compiled.

    Raises:
        TrainerError: If the backend cannot be used.
    """
    if not config.torch_compile:
        return None
    if backend_of(config, device) is None:
        on_warning("--torch_compile needs a C++ compiler on a CPU and found none; the blocks run uncompiled.")
        return None
    check_backend(config)
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MAX_VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in blocks:
        block.compile(backend=config.dynamo_backend, dynamic=False)
    return config.dynamo_backend


def check_backend(config: PlacementConfig) -> None:
    """Raise TrainerError if this PyTorch does not have the backend, or if it cannot compile a small function."""
    if not config.torch_compile:
        return
    import torch._dynamo  # the import takes two seconds

    name = config.dynamo_backend
    if name not in torch._dynamo.list_backends(exclude_tags=()):
        raise TrainerError(f"--dynamo_backend {name} is not one of this PyTorch's; use {DEFAULT_BACKEND}.")
    if name == DEFAULT_BACKEND:  # it is a part of PyTorch, and compiling takes it seconds
        return
    try:
        torch.compile(_doubled, backend=name, dynamic=False)(torch.ones(1, requires_grad=True)).backward()
    except Exception as error:  # noqa: BLE001, a backend can raise anything
        why = first_line(getattr(error, "inner_exception", error))
        raise TrainerError(f"--dynamo_backend {name} cannot be used: {why}; use {DEFAULT_BACKEND}.") from None


def _doubled(values: Tensor) -> Tensor:
    return (values * 2).sum()


def backend_of(config: PlacementConfig, device: torch.device) -> str | None:
    """Return the backend that compiles the blocks, or None if they run uncompiled."""
    lacks_compiler = config.dynamo_backend == DEFAULT_BACKEND and device.type == "cpu" and not _has_compiler()
    return config.dynamo_backend if config.torch_compile and not lacks_compiler else None


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name)
