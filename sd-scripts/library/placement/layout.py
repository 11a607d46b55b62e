"""Where the training runs, in which precision, and how the frozen transformer is laid out there."""

import os
from argparse import Namespace
from contextlib import AbstractContextManager

import torch
from torch import nn

from library.errors import TrainerError, warn
from library.models.flux1.layer_names import FLUX_PREFIX
from library.models.flux1.loading import load_flux
from library.models.flux1.transformer import Flux
from library.placement.activations import keep_activations_on_host, swap, swapped_blocks
from library.placement.checkpointing import products_budget
from library.placement.compile import compile_blocks
from library.placement.device_index import with_index
from library.placement.float8_matmul import can_multiply
from library.placement.quantization import QuantizedLinear, dequantize_blocks, placing, quantize_blocks
from library.weights.model_files import Place
from networks.lora_merge import merge_base_weights


def choose_device() -> torch.device:
    """Return the GPU with its index if there is one, else the CPU; raises TrainerError when started as one of several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainerError("several processes for one training are not supported yet; start it with --num_processes 1.")
    return with_index("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(args: Namespace) -> torch.dtype:
    """Return the precision of the frozen weights and of the arithmetic, by --mixed_precision."""
    if args.mixed_precision == "fp16":
        raise TrainerError("--mixed_precision fp16 is not supported: FLUX overflows in float16; use bf16.")
    return torch.bfloat16 if args.mixed_precision == "bf16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Compute in `dtype`; float32 needs no casting."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def load_base(args: Namespace, device: torch.device, dtype: torch.dtype) -> Flux:
    """Load the frozen transformer as the flags want it: quantized, blocks swapped to host memory, gradient checkpointing.

    What is not to be on the GPU is never loaded there, and no tensor is wide that is to be small.
    """
    layout = Layout(args, device, dtype)
    path, mapped = args.pretrained_model_name_or_path, not args.disable_mmap_load_safetensors
    flux = load_flux(path, dtype=dtype, device=layout.device_of, prepare=layout.prepare, mapped=mapped)
    merge_base_weights(args, {FLUX_PREFIX: flux})
    layout.finish(flux)
    flux.gradient_checkpointing = bool(args.gradient_checkpointing or args.cpu_offload_checkpointing)
    if args.cpu_offload_checkpointing:
        keep_activations_on_host(flux)
    flux.products_budget = products_budget(device)
    compile_blocks(flux, args, device)
    return flux


class Layout:
    """Where each tensor of the transformer lies, and how it is stored."""

    def __init__(self, args: Namespace, device: torch.device, dtype: torch.dtype) -> None:
        self.args, self.device, self.dtype = args, device, dtype
        self.kind = args.base_quantization or ("fp8" if args.fp8_base else None)
        self.swapped: list[nn.Module] = []
        self.swapped_prefixes: tuple[str, ...] = ()

    def device_of(self, name: str) -> torch.device:
        """Return where a tensor is kept."""
        return torch.device("cpu") if name.startswith(self.swapped_prefixes) else self.device

    def prepare(self, flux: Flux) -> Place | None:
        """Decide about an empty model; returns how its quantized layers are filled."""
        wanted = swapped_blocks(flux, self.args.blocks_to_swap, split_mode=self.args.split_mode)
        if wanted and self.device.type == "cpu":
            warn(f"{len(wanted)} blocks were to be swapped to host memory, where a training on the CPU has them anyway.")
        elif wanted:
            self.swapped, self.swapped_prefixes = list(wanted.values()), tuple(f"{name}." for name in wanted)
        if self.kind is None:
            return None
        self._multiply_in_float8(quantize_blocks(flux, self.kind, self.dtype))
        return placing(self.device, self.device_of)

    def _multiply_in_float8(self, layers: list[QuantizedLinear]) -> None:
        if self.args.fp8_matmul and not can_multiply(self.device):
            warn("--fp8_matmul has no effect: this device does not multiply float8 matrices.")
        elif self.args.fp8_matmul:
            for layer in layers:
                layer.multiplies_in_float8 = True

    def finish(self, flux: Flux) -> None:
        """Set up a filled model."""
        if self.swapped:
            swap(flux, self.swapped, self.device)
        if self.device.type == "cpu":
            dequantize_blocks(flux)
