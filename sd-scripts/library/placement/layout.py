"""The device and the precision of a training, and the placement of the frozen models' tensors."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn

from library.config import MixedPrecision, PlacementConfig
from library.errors import OnWarning, TrainerError
from library.placement.activations import BlockCheckpointing, keep_activations_on_host, products_budget
from library.placement.block_swap import BlockTransfer, CudaBlockTransfer, fits, swap_blocks
from library.placement.compile import compile_blocks
from library.placement.cpu import fast_dtype
from library.placement.device_index import with_index
from library.placement.float8_matmul import can_multiply
from library.placement.quantization import QuantizedLinear, dequantize_blocks, quantize_blocks, quantized_store
from library.weights.model_files import StoreTensor

SPLIT_MODE_BLOCKS = 18  # the value of --blocks_to_swap that kohya's deprecated --split_mode sets
SelectBlocks = Callable[[nn.Module, int], Sequence[nn.Module]]
NewTransfer = Callable[[torch.device], BlockTransfer]


def choose_device() -> torch.device:
    """Return the GPU with its index if there is one, else the CPU.

    Raises:
        TrainerError: If started as one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainerError("Several processes for one training are not supported yet; start it with --num_processes 1.")
    return with_index("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(config: PlacementConfig, device: torch.device) -> torch.dtype:
    """Return the precision of the frozen weights and of the arithmetic, by --mixed_precision.

    bf16 is float32 on a CPU without fast bfloat16 products, unless --full_bf16 keeps the trained weights in bfloat16 too.
    """
    if config.mixed_precision == MixedPrecision.NO:
        return torch.float32
    return torch.bfloat16 if config.full_bf16 else fast_dtype(torch.bfloat16, device)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return a context that computes in `dtype`; it does nothing for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def num_blocks_to_swap(config: PlacementConfig) -> int:
    """Return --blocks_to_swap, or its value for the deprecated --split_mode; the model family selects the blocks."""
    return config.blocks_to_swap or (SPLIT_MODE_BLOCKS if config.split_mode else 0)


class TransformerLayout:
    """The tensor store of the frozen transformer: quantizes and swaps blocks as the flags request.

    A tensor of a swapped block is never loaded to the GPU, and at most one quantized tensor at a time is in full precision.
    """

    def __init__(
        self,
        config: PlacementConfig,
        device: torch.device,
        dtype: torch.dtype,
        select_swapped: SelectBlocks,
        new_transfer: NewTransfer = CudaBlockTransfer,
        *,
        on_warning: OnWarning,
    ) -> None:
        """`select_swapped` returns the blocks for --blocks_to_swap N, for example ModelFamily.swapped_blocks.

        `on_warning` is called for each flag that has no effect on this device.
        """
        self.config, self.device, self.dtype = config, device, dtype
        self._select_swapped, self._on_warning, self._new_transfer = select_swapped, on_warning, new_transfer
        self._swapped = _HostBlocks()
        self._compiled_by: str | None = None

    def device_of(self, name: str) -> torch.device:
        """Return the device on which a tensor is stored."""
        return torch.device("cpu") if self._swapped.contain(name) else self.device

    def prepare(self, model: nn.Module, blocks: Sequence[nn.Module]) -> StoreTensor | None:
        """Select the swapped blocks of an empty model and replace its Linears by quantized ones; return the function that fills these."""
        swapped = self._select_swapped(model, num_blocks_to_swap(self.config))
        if swapped and self.device.type == "cpu":
            self._on_warning(f"{len(swapped)} blocks were to be swapped to host memory, where a training on the CPU has them anyway.")
        else:
            self._swapped = _HostBlocks(model, swapped)
        if self.config.base_quantization is None:
            return None
        self._multiply_in_float8(quantize_blocks(blocks, self.config.base_quantization, self.dtype))
        return quantized_store(self.device, self.device_of)

    def _multiply_in_float8(self, layers: Iterable[QuantizedLinear]) -> None:
        if self.config.fp8_matmul and not can_multiply(self.device):
            self._on_warning("--fp8_matmul has no effect: this device does not multiply float8 matrices.")
        elif self.config.fp8_matmul:
            for layer in layers:
                layer.multiplies_in_float8 = True

    def finish(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Set up swapping, offloading and compilation of a loaded model; call it after --base_weights are merged."""
        self._swapped.swap(lambda: self._new_transfer(self.device), is_checkpointed=self.config.gradient_checkpointing)
        if self.device.type == "cpu":
            dequantize_blocks(blocks)
        if self.config.cpu_offload_checkpointing:
            keep_activations_on_host(model)
        self._compiled_by = compile_blocks(blocks, self.config, self.device, self._on_warning)

    def block_runner(self) -> BlockCheckpointing | None:
        """Return the block runner for gradient checkpointing, or None if blocks are called directly."""
        if not self.config.gradient_checkpointing:
            return None
        return BlockCheckpointing(budget_bytes=products_budget(self.device), is_compiled=self._compiled_by is not None)


class TextEncoderLayout:
    """The tensor store of a text encoder: on the device if it fits, else with all its blocks swapped."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        fits_on: Callable[[int, torch.device], bool] = fits,
        new_transfer: NewTransfer = CudaBlockTransfer,
    ) -> None:
        self.device, self.dtype = device, dtype
        self._fits_on, self._new_transfer = fits_on, new_transfer
        self._swapped = _HostBlocks()

    def device_of(self, name: str) -> torch.device:
        """Return the device on which a tensor is stored."""
        return torch.device("cpu") if self._swapped.contain(name) else self.device

    def prepare(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Select all blocks for swapping if the empty model does not fit on the device."""
        if not self._fits_on(sum(tensor.numel() for tensor in model.parameters()) * self.dtype.itemsize, self.device):
            self._swapped = _HostBlocks(model, blocks)

    def finish(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Set up swapping if selected: T5's 9 GB of weights then take the memory of two blocks, also when T5 is trained."""
        self._swapped.swap(lambda: self._new_transfer(self.device), is_checkpointed=False)


class _HostBlocks:
    """The blocks of a model that are kept in host memory."""

    def __init__(self, model: nn.Module | None = None, blocks: Sequence[nn.Module] = ()) -> None:
        names = {id(module): name for name, module in model.named_modules()} if model is not None else {}
        self._blocks, self._prefixes = list(blocks), tuple(f"{names[id(block)]}." for block in blocks)

    def contain(self, name: str) -> bool:
        """Return True if a tensor belongs to one of the blocks."""
        return name.startswith(self._prefixes)

    def swap(self, new_transfer: Callable[[], BlockTransfer], *, is_checkpointed: bool) -> None:
        """Swap the blocks, if there are any."""
        if self._blocks:
            transfer = new_transfer()
            transfer.prepare(self._blocks)
            swap_blocks(self._blocks, transfer, is_checkpointed=is_checkpointed)
