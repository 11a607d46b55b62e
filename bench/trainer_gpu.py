"""The trainer's step on a GPU with FLUX.1 dev's true shapes and random weights: seconds, share of the bf16 matmul rate, peak memory for each tier.

Each VRAM tier of the page is laid out by its own flags, through the trainer's own parser, and its card's size is emulated with
torch.cuda.set_per_process_memory_fraction. Each runs in a process of its own, so that a tier that does not fit ends only itself. The checkpoint
of random numbers is written once, 24 GB to the temporary folder. Without a GPU every figure stays empty, with the reason. Written without a GPU at
hand: not yet run on one; tests/bench/test_trainer_gpu.py runs its tiers on a CPU with a small model.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Figure
from fluxgym.config.vram_tiers import TIERS
from fluxgym.runs.launch_spec import to_words

ROOT = Path(__file__).parents[1]
CARDS_GB = {"24G": 32, "20G": 20, "16G": 16, "12G": 12, "10G": 10, "8G": 8}  # 24G is for cards of more than 24 GB
ALWAYS = (
    "--fp8_base",
    "--gradient_checkpointing",
    "--mixed_precision",
    "bf16",
    "--network_train_unet_only",
    "--network_dim",
    "4",
    "--seed",
    "1",
)
WARM_UP, STEPS = 2, 5
TOKENS, TEXT_TOKENS = 1024, 512
DEV = {
    "in_channels": 64, "context_dim": 4096, "vec_dim": 768, "hidden_size": 3072, "num_heads": 24, "mlp_dim": 12288, "depth": 19,
    "depth_single_blocks": 38, "guidance_embed": True,
}  # fmt: skip


def measure(_repeats: int) -> list[Figure]:
    """Measure every tier that the card can emulate; a card that is not there leaves its figures empty."""
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "flux.safetensors"
        why = _run("write", str(checkpoint)).get("why")
        return [figure for tier in TIERS for figure in _figures(tier, {"why": why} if why else _run(tier, str(checkpoint)))]


def _run(*words: str) -> dict[str, float | str]:
    """Run this module with arguments in a process of its own; return its figures, or the reason why it has none."""
    done = subprocess.run([sys.executable, "-m", "bench.trainer_gpu", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"why": (done.stderr.strip().splitlines() or ["it ended without output"])[-1][:120]}
    return json.loads(done.stdout.splitlines()[-1])


def _figures(tier: str, found: dict[str, float | str]) -> list[Figure]:
    why, gb = str(found.get("why", "")), CARDS_GB[tier]
    return [
        Figure(
            what=f"{tier}: s/step", ours=found.get("step_s"), unit="s", target="<= 1.67", peer=found.get("limit_s"),
            peer_name="limit: bf16 matmul", note=why,
        ),
        Figure(what=f"{tier}: peak memory", ours=found.get("peak_gb"), unit="GB", target=f"<= {gb}", note=why),
    ]  # fmt: skip


def write_checkpoint(path: Path, shapes: dict[str, object]) -> None:
    """Write a transformer of random bfloat16 weights."""
    import torch
    from safetensors.torch import save_file

    from library.models.flux1.transformer import Flux, FluxParams

    torch.manual_seed(0)
    with torch.device("meta"):
        empty = Flux(FluxParams(**shapes)).state_dict()
    save_file({name: torch.randn(tensor.shape, dtype=torch.bfloat16).mul_(0.02) for name, tensor in empty.items()}, path)


def make_training(tier: str, checkpoint: Path, device: str):
    """Return (transformer, LoRA, optimizer) as the trainer makes them of a tier's flags."""

    import torch

    from library.cli.parse import parse
    from library.models.family import TRANSFORMER
    from library.models.registry import find_family
    from library.optim.optimizers import create_optimizer
    from library.training.base_model import BaseModel
    from networks import factory
    from networks.factory import parameter_groups

    nowhere = [word for flag in ("ae", "clip_l", "t5xxl", "output_dir", "train_data_dir") for word in (f"--{flag}", "-")]
    flags = [word for word in ALWAYS if word not in TIERS[tier].without] + list(to_words(TIERS[tier].options))
    config = parse(["--pretrained_model_name_or_path", str(checkpoint), *nowhere, *flags])
    base = BaseModel(find_family(config.model), config.model, (), device=torch.device(device), dtype=torch.bfloat16)
    flux = base.load_transformer(config.placement)
    network = factory.create(config.network, base.family.lora_parts, {TRANSFORMER: flux}, seed=config.run.seed).to(device)
    return flux, network, create_optimizer(config.optim, parameter_groups(config.optim, network, base.family.lora_parts))


def run_step(flux, network, optimizer, device: str) -> None:
    """One whole step over TOKENS image and TEXT_TOKENS text tokens: forward, backward, optimizer."""
    import torch

    from library.models.flux1.math import image_ids, text_ids

    p, side = flux.params, int(TOKENS**0.5) * 2
    img, txt, y = (
        torch.randn(shape, device=device) for shape in ((1, TOKENS, p.in_channels), (1, TEXT_TOKENS, p.context_dim), (1, p.vec_dim))
    )
    time_, guidance = torch.full((1,), 0.6, device=device), torch.ones(1, device=device)
    with torch.autocast(device, torch.bfloat16):
        out = flux(img.requires_grad_(), image_ids(1, side, side, device), txt, text_ids(1, TEXT_TOKENS, device), time_, y, guidance)
    out.float().square().mean().backward()
    optimizer.step()
    network.zero_grad(set_to_none=True)


def _measure_tier(tier: str, checkpoint: Path) -> dict[str, float | str]:
    """Run a tier's steps here; returns figures, or {"why": …} where the card is too small to emulate it."""
    import torch

    total, wanted = torch.cuda.get_device_properties(0).total_memory, CARDS_GB[tier] << 30
    if wanted > total * 1.05:
        return {"why": f"the card has {total >> 30} GB"}
    torch.cuda.set_per_process_memory_fraction(min(1.0, wanted / total))
    training, seconds = make_training(tier, checkpoint, "cuda"), []
    for _ in range(WARM_UP + STEPS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run_step(*training, "cuda")
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    peak_gb = torch.cuda.max_memory_reserved() / (1 << 30)
    return {"step_s": statistics.median(seconds[WARM_UP:]), "peak_gb": peak_gb, "limit_s": _step_flop() / _matmul_rate()}


def _step_flop() -> float:
    """Operations of a step, counted as in limits.py: forward, recompute, gradients of inputs."""
    tokens, width, blocks = TOKENS + TEXT_TOKENS, DEV["hidden_size"], DEV["depth"] + DEV["depth_single_blocks"]
    linear = 2.0 * blocks * tokens * width * (4 * width + 2 * DEV["mlp_dim"])
    return 3 * linear + 4.5 * 4.0 * blocks * tokens**2 * width


def _matmul_rate() -> float:
    """bfloat16 operations per second of the widest Linear."""
    import torch

    x, weight = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for shape in ((TOKENS + TEXT_TOKENS, 3072), (21504, 3072)))
    for _ in range(5):
        torch.nn.functional.linear(x, weight)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(50):
        torch.nn.functional.linear(x, weight)
    torch.cuda.synchronize()
    return 50 * 2.0 * (TOKENS + TEXT_TOKENS) * 3072 * 21504 / (time.perf_counter() - began)


def main(what: str, checkpoint: str) -> dict[str, float | str]:
    """Write the checkpoint, or measure one tier over it."""
    import torch

    if not torch.cuda.is_available():
        return {"why": "no GPU on this machine"}
    sys.path.insert(0, str(ROOT / "sd-scripts"))
    if what == "write":
        write_checkpoint(Path(checkpoint), DEV)
        return {}
    return _measure_tier(what, Path(checkpoint))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
