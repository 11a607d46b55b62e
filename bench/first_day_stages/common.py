"""What the stages share: records, timing, and FLUX.1 dev at its true shapes with random weights made on the GPU."""

import json
import time
from collections.abc import Callable

import torch

from bench.trainer_gpu import DEV
from library.cli.parse import parse
from library.errors import warn
from library.models.family import TRANSFORMER
from library.models.flux1.family import LORA_PARTS, Flux1Family
from library.models.flux1.math import image_ids, pack_latents, text_ids
from library.models.flux1.transformer import Flux, FluxParams
from library.placement.activations import BlockCheckpointing
from library.placement.layout import TransformerLayout, choose_device
from library.placement.quantization import QuantizedLinear
from networks import factory
from networks.base import LoRANetwork

HAS_GPU, DEVICE, BF16, GIB = torch.cuda.is_available(), choose_device(), torch.bfloat16, 1 << 30
TINY = {"context_dim": 64, "vec_dim": 32, "hidden_size": 256, "num_heads": 2, "mlp_dim": 1024, "depth": 2, "depth_single_blocks": 4}
SHAPES = FluxParams(**(DEV if HAS_GPU else DEV | TINY))
TEXT_TOKENS, LATENT_SIDE = (512, 64) if HAS_GPU else (8, 8)


def record(stage: str, what: str, **fields: object) -> None:
    """Print one result: `found`, `error`, `predicted`."""
    print(json.dumps({"stage": stage, "what": what, **fields}, default=str), flush=True)


def attempt(stage: str, what: str, check: Callable[[], object], **fields: object) -> None:
    """Record what a check returns, or the error that it raises."""
    try:
        record(stage, what, found=check(), **fields)
    except Exception as error:  # noqa: BLE001 - whatever fails, the next check must run
        record(stage, what, error=f"{type(error).__name__}: {error}"[:300], **fields)


def synchronize() -> None:
    """Wait until the GPU has done its work."""
    if HAS_GPU:
        torch.cuda.synchronize(DEVICE)


def timed(action: Callable[[], object], *, repeats: int = 10, warm_up: int = 3) -> dict[str, float]:
    """Return the mean seconds of an action (s), and how long the host took to submit it (host_s)."""
    for _ in range(warm_up):
        action()
    synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        action()
    submitted = time.perf_counter() - began
    synchronize()
    return {"s": (time.perf_counter() - began) / repeats, "host_s": submitted / repeats}


def peak_memory() -> dict[str, float | None]:
    """Return the GiB that were live and reserved at most since the last reset."""
    if not HAS_GPU:
        return {"live_gib": None, "reserved_gib": None}
    return {
        "live_gib": torch.cuda.max_memory_allocated(DEVICE) / GIB,
        "reserved_gib": torch.cuda.max_memory_reserved(DEVICE) / GIB,
    }


def make_training(flags: list[str], *, rank: int = 16) -> tuple[Flux, LoRANetwork]:
    """Return the transformer with random weights as the trainer lays it out by its flags, and a LoRA; needs no file and little host memory."""
    nowhere = ["pretrained_model_name_or_path", "ae", "clip_l", "t5xxl", "output_dir", "train_data_dir"]
    config = parse(
        [
            *(word for flag in nowhere for word in (f"--{flag}", "-")),
            "--mixed_precision",
            "bf16",
            "--network_dim",
            str(rank),
            "--network_train_unet_only",
            "--seed",
            "1",
            *flags,
        ]
    )
    with torch.device("meta"):
        flux = Flux(SHAPES)
    layout = TransformerLayout(config.placement, DEVICE, BF16, Flux1Family("dev").swapped_blocks, on_warning=warn)
    layout.prepare(flux, flux.blocks)
    for name, module in flux.named_modules():
        _fill(module, layout.device_of(f"{name}."))
    flux.eval().requires_grad_(False)
    layout.finish(flux, flux.blocks)
    flux.block_runner = BlockCheckpointing()
    return flux, factory.create(config.network, LORA_PARTS, {TRANSFORMER: flux}, seed=config.run.seed).to(DEVICE)


def _fill(module: torch.nn.Module, device: torch.device) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        value = torch.empty(parameter.shape, dtype=BF16, device=DEVICE)
        if value.dim() > 1:
            value.normal_(0, 0.02)
        else:
            value.fill_(1.0 if name == "scale" else 0.0)
        if isinstance(module, QuantizedLinear) and name == "weight":
            module.store_weight(value, None)
        else:
            setattr(module, name, torch.nn.Parameter(value, requires_grad=False))
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            if tensor is not None:
                tensors[name] = (
                    torch.nn.Parameter(tensor.to(device), requires_grad=False) if tensors is module._parameters else tensor.to(device)
                )


def run_step(flux: Flux, network: LoRANetwork, *, autocast: bool = True, input_gradient: bool = True) -> None:
    """One forward and backward at 512 px, batch 1, without an optimizer."""
    params, side = flux.params, LATENT_SIDE
    tokens = pack_latents(torch.randn(1, 16, side, side, device=DEVICE)).to(torch.float32 if autocast else BF16)
    tokens.requires_grad_(input_gradient)
    text = torch.randn(1, TEXT_TOKENS, params.context_dim, device=DEVICE, dtype=BF16)
    pooled = torch.randn(1, params.vec_dim, device=DEVICE, dtype=BF16)
    ids = image_ids(1, side, side, DEVICE), text_ids(1, TEXT_TOKENS, DEVICE)
    sigma, guidance = torch.full((1,), 0.6, device=DEVICE), torch.ones(1, device=DEVICE)
    with torch.autocast(DEVICE.type, BF16, enabled=autocast):
        out = flux(tokens, ids[0], text, ids[1], sigma, pooled, guidance)
    out.float().square().mean().backward()
    network.zero_grad(set_to_none=True)
