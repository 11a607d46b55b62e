"""One training step of a VRAM tier on the fake device: the trainer's own layout, network and forward, and what they take."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.trainer_gpu import ALWAYS, DEV
from fluxgym.config.vram_tiers import TIERS
from fluxgym.runs.launch_spec import to_words
from library.cli.parse import parse
from library.config import PlacementConfig, TrainerConfig
from library.errors import warn
from library.models.family import TRANSFORMER
from library.models.flux1.family import LORA_PARTS, Flux1Family
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.models.flux1.transformer import Flux, FluxParams
from library.placement.activations import BlockCheckpointing
from library.placement.layout import TransformerLayout
from library.placement.quantization import QuantizedLinear
from networks import factory
from tests.gpu.fake_cuda.allocator import peak_reserved
from tests.gpu.fake_cuda.ledger import Ledger

CUDA, BF16 = torch.device("cuda", 0), torch.bfloat16
LATENT_CHANNELS, PIXELS_PER_LATENT = 16, 8
FLUX_DEV = FluxParams(**DEV)
SMALL = replace(FLUX_DEV, context_dim=64, vec_dim=32, hidden_size=256, num_heads=2, mlp_dim=1024, depth=3, depth_single_blocks=6)
SHAPES = {"flux": FLUX_DEV, "small": SMALL}


@dataclass(frozen=True)
class Case:
    """What to measure: a tier, the model's shapes, pixels of a side, LoRA rank, and checkpointing (full, products or none)."""

    tier: str
    shapes: str = "flux"
    resolution: int = 512
    rank: int = 16
    text_tokens: int = 512
    checkpointing: str = "full"
    swap: int | None = None  # --blocks_to_swap in place of the tier's


class _Transfer:
    """Copies of swapped blocks, without the streams and events of the real transfer."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, blocks: Iterable[nn.Module]) -> None:
        """Leave the blocks where they are."""

    def start(self, host: dict) -> dict:
        return {"copies": {name: tensor.to(self.device) for name, tensor in host.items()}}

    def finish(self, visit: dict) -> dict:
        return visit["copies"]

    def drop(self, visit: dict) -> None:
        visit["copies"] = {}


def measure(case: Case) -> dict:
    """Run one step and return its figures: bytes, kernels, FLOP, and the operations that ran on a wrong device."""
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True), ledger:
        config = _config(case)
        flux, weights = _make_flux(case, config.placement, ledger)
        network = factory.create(config.network, LORA_PARTS, {TRANSFORMER: flux}, seed=config.run.seed).to(CUDA)
        parameters = list(network.parameters())
        lora = ledger.live - weights
        state = _optimizer_state(config.optim.optimizer_type, parameters)
        optimizer = ledger.live - weights - lora
        _run(case, flux, ledger)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        figures = {
            "weights": weights, "lora": lora, "optimizer": optimizer, "gradients": sum(4 * each.numel() for each in gradients),
            "peak": ledger.peak, "num_gradients": len(gradients), "num_state": len(state),
            "on_gpu": all(each.device == CUDA for each in gradients),
        }  # fmt: skip
    figures["reserved"] = peak_reserved(ledger.trace)
    phases = {name: phase for name, phase in ledger.phases.items() if name != "set up"}
    for key in ("kernels", "num_bytes", "flop"):
        figures[key] = sum(getattr(phase, key) for phase in phases.values())
    return figures | {"peaks": {name: phase.peak for name, phase in phases.items()}, "misplaced": ledger.misplaced}


def _config(case: Case) -> TrainerConfig:
    without = TIERS[case.tier].without
    flags = [flag for flag in ALWAYS if flag not in without] + list(to_words(TIERS[case.tier].options))
    nowhere = [word for flag in ("ae", "clip_l", "t5xxl", "output_dir", "train_data_dir") for word in (f"--{flag}", "-")]
    config = parse(["--pretrained_model_name_or_path", "-", *nowhere, *flags, "--network_dim", str(case.rank)])
    if case.swap is None:
        return config
    return replace(config, placement=replace(config.placement, blocks_to_swap=case.swap, split_mode=False))


def _make_flux(case: Case, placement: PlacementConfig, ledger: Ledger) -> tuple[Flux, int]:
    """Return the transformer as the trainer lays it out, with empty weights, and the bytes that it takes on the device."""
    with torch.device("meta"):
        flux = Flux(SHAPES[case.shapes])
    layout = TransformerLayout(placement, CUDA, BF16, Flux1Family("dev").swapped_blocks, _Transfer, on_warning=warn)
    layout.prepare(flux, flux.blocks)
    for name, module in flux.named_modules():
        _fill(module, layout.device_of(f"{name}."))
    flux.eval().requires_grad_(False)
    weights = ledger.live
    layout.finish(flux, flux.blocks)
    budget = 1 << 60 if case.checkpointing == "products" else 0
    flux.block_runner = None if case.checkpointing == "none" else BlockCheckpointing(budget_bytes=budget)
    return flux, weights


def _fill(module: nn.Module, device: torch.device) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        dtype = module.storage if isinstance(module, QuantizedLinear) and name == "weight" else BF16
        setattr(module, name, nn.Parameter(torch.empty(parameter.shape, dtype=dtype, device=device), requires_grad=False))
    if isinstance(module, QuantizedLinear):
        module.register_buffer("weight_scale", torch.empty(module.out_features, 1, device=device), persistent=False)


def _optimizer_state(name: str, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    """Return tensors of the sizes that an optimizer keeps: rows and columns (Adafactor), or two moments of a byte per weight."""
    if name.lower() == "adafactor":
        return [torch.zeros(size, device=CUDA) for parameter in parameters for size in parameter.shape]
    return [torch.zeros(parameter.shape, dtype=torch.uint8, device=CUDA) for parameter in parameters for _ in range(2)]


def _run(case: Case, flux: Flux, ledger: Ledger) -> None:
    params, side = flux.params, case.resolution // PIXELS_PER_LATENT
    latents, noise = (torch.empty(1, LATENT_CHANNELS, side, side, device=CUDA) for _ in range(2))
    text = torch.empty(1, case.text_tokens, params.context_dim, dtype=BF16, device=CUDA)
    pooled = torch.empty(1, params.vec_dim, dtype=BF16, device=CUDA)
    sigma, guidance = torch.full((1,), 0.5, device=CUDA), torch.ones(1, device=CUDA)
    ids = image_ids(1, side, side, CUDA), text_ids(1, case.text_tokens, CUDA)
    ledger.enter("forward")
    noisy = (1 - sigma[:, None, None, None]) * latents + sigma[:, None, None, None] * noise
    tokens = pack_latents(noisy).requires_grad_()
    with torch.autocast("cuda", BF16):
        velocity = unpack_latents(flux(tokens, ids[0], text, ids[1], sigma, pooled, guidance), side, side)
    loss = torch.nn.functional.mse_loss(velocity.float(), noise - latents)
    ledger.enter("backward")
    loss.backward()
