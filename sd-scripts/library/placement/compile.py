"""torch.compile for the transformer's blocks, by kohya's --torch_compile and --dynamo_backend.

Not on by default: on the work "mini" compiled blocks took as long as ours do uncompiled (docs/performance.md), since norms, rotation, modulation
and the LoRA are few passes already, and products and attention are the same kernels; the compiling itself took as long as tens of steps.

Compiled code rounds otherwise than uncompiled code. So that a resumed training is bit for bit the uninterrupted one, the backend in use is one
of the settings that a checkpoint is bound to, and each shape is compiled for itself: code that PyTorch generalises at the second shape it meets
would depend on which came first, and a resumed training meets them in another order.
"""

import os
import shutil
from argparse import Namespace

import torch

from library.errors import TrainerError, warn
from library.models.flux1.transformer import Flux

COMPILERS = ("c++", "g++", "clang++")
MAX_VARIANTS = 4096  # blocks times shapes; PyTorch's own limit of 8 would silently go on uncompiled


def compile_blocks(flux: Flux, args: Namespace, device: torch.device) -> None:
    """Have every block compiled when it first runs, if --torch_compile asks for it; notes the backend in flux.compiled_by.

    Inductor on a CPU needs a C++ compiler; without one a line is printed and nothing is compiled. Raises TrainerError for a backend that
    this PyTorch does not have.
    """
    if not args.torch_compile:
        return
    if backend_of(args, device) is None:
        warn("--torch_compile needs a C++ compiler on a CPU and found none; the blocks run uncompiled.")
        return
    check_backend(args)
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MAX_VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in [*flux.double_blocks, *flux.single_blocks]:
        block.compile(backend=args.dynamo_backend, dynamic=False)
    flux.compiled_by = backend_of(args, device)


def check_backend(args: Namespace) -> None:
    """Raise TrainerError for a backend that this PyTorch does not have."""
    if not args.torch_compile:
        return
    import torch._dynamo  # two seconds that only who compiles is to wait

    if args.dynamo_backend not in torch._dynamo.list_backends(exclude_tags=()):
        raise TrainerError(f"--dynamo_backend {args.dynamo_backend} is not one of this PyTorch's; use inductor.")


def backend_of(args: Namespace, device: torch.device) -> str | None:
    """Return what will compile the blocks, None when nothing will."""
    lacks_compiler = args.dynamo_backend == "inductor" and device.type == "cpu" and not _has_compiler()
    return args.dynamo_backend if args.torch_compile and not lacks_compiler else None


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name)
