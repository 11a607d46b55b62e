"""Where the training runs, in which precision, and how the frozen transformer is laid out there."""

import os
from argparse import Namespace
from contextlib import AbstractContextManager

import torch

from library.compiled import compile_blocks
from library.errors import TrainerError
from library.flux_model import Flux, load_flux
from library.host_weights import cast_float8_once
from library.offload import num_blocks_to_swap, place_blocks, store_in_float8
from library.recompute import products_budget


def choose_device() -> torch.device:
    """Return the GPU if there is one, else the CPU; raises TrainerError when started as one of several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainerError("several processes for one training are not supported yet; start it with --num_processes 1.")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(args: Namespace) -> torch.dtype:
    """Return the precision of the frozen weights and of the arithmetic, by --mixed_precision."""
    if args.mixed_precision == "fp16":
        raise TrainerError("--mixed_precision fp16 is not supported: FLUX overflows in float16; use bf16.")
    return torch.bfloat16 if args.mixed_precision == "bf16" else torch.float32


def save_dtype(args: Namespace) -> torch.dtype | None:
    """Return the precision of saved LoRA files, by --save_precision; None keeps the trained one."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "float": torch.float32}.get(args.save_precision or "")


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Compute in `dtype`; float32 needs no casting."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def load_base(args: Namespace, device: torch.device, dtype: torch.dtype) -> Flux:
    """Load the frozen transformer as the flags want it: float8 storage, blocks swapped to host memory, gradient checkpointing."""
    in_steps = args.fp8_base or args.blocks_to_swap or args.split_mode  # what is not to be on the GPU whole is not loaded there
    flux = load_flux(args.pretrained_model_name_or_path, dtype=dtype, device="cpu" if in_steps else device)
    if args.fp8_base:
        store_in_float8(flux, dtype)
    num_swapped = num_blocks_to_swap(args.blocks_to_swap, args.split_mode, len(flux.double_blocks) + len(flux.single_blocks))
    if num_swapped and device.type == "cpu":
        print(f"warning: {num_swapped} blocks were to be swapped to host memory, where a training on the CPU has them anyway.", flush=True)
        num_swapped = 0
    place_blocks(flux, num_swapped, device)
    if args.fp8_base and device.type == "cpu":
        cast_float8_once(flux, dtype)
    flux.gradient_checkpointing = bool(args.gradient_checkpointing)
    flux.products_budget = products_budget(device)
    compile_blocks(flux, args, device)
    return flux
