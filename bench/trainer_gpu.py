"""The trainer's step on a GPU with FLUX.1 dev's true shapes and random weights: seconds, share of the bf16 matmul rate, peak memory for each tier.

The card's size is emulated with torch.cuda.set_per_process_memory_fraction. Each tier runs in a process of its own, so that a tier that does not
fit ends only itself: `python -m bench.trainer_gpu 16`. Without a GPU every figure stays empty and says so. Written without a GPU at hand: not yet
run on one.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.table import Figure

ROOT = Path(__file__).parents[1]
TIERS_GB = {80: 0, 24: 0, 20: 0, 16: 0, 12: 16, 10: 22, 8: 28}  # size of the card, and blocks swapped: kohya's own advice below 16 GB
WARM_UP, STEPS = 2, 5
DEV = {
    "in_channels": 64, "context_dim": 4096, "vec_dim": 768, "hidden_size": 3072, "num_heads": 24, "mlp_dim": 12288, "depth": 19,
    "depth_single_blocks": 38, "guidance_embed": True,
}  # fmt: skip


def measure(_repeats: int) -> list[Figure]:
    """Measure every tier that the card can emulate; a card that is not there leaves its figures empty."""
    return [figure for gb in TIERS_GB for figure in _figures(gb, _run(gb))]


def _run(gb: int) -> dict[str, float | str]:
    """Run one tier in a process of its own; returns its figures, or why there are none."""
    command = [sys.executable, "-m", "bench.trainer_gpu", str(gb)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"why": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:120]}
    return json.loads(done.stdout.splitlines()[-1])


def _figures(gb: int, found: dict[str, float | str]) -> list[Figure]:
    why = str(found.get("why", ""))
    name, speed = f"{gb} GB tier", found.get("step_s")
    limit = found.get("limit_s")
    return [
        Figure(what=f"{name}: s/step", ours=speed, unit="s", target="<= 1.67", peer=limit, peer_name="limit: bf16 matmul", note=why),
        Figure(what=f"{name}: peak memory", ours=found.get("peak_gb"), unit="GB", target=f"<= {gb}", note=why),
    ]


def _measure_tier(gb: int) -> dict[str, float | str]:
    """Run a tier's steps here; returns figures, or {"why": …} where the machine cannot."""
    import torch

    if not torch.cuda.is_available():
        return {"why": "no GPU on this machine"}
    total = torch.cuda.get_device_properties(0).total_memory
    if gb << 30 > total * 1.05:
        return {"why": f"the card has {total >> 30} GB"}
    torch.cuda.set_per_process_memory_fraction(min(1.0, (gb << 30) / total))
    sys.path.insert(0, str(ROOT / "sd-scripts"))
    flux, network = _make_training(gb)
    seconds = [_step(flux, network) for _ in range(WARM_UP + STEPS)][WARM_UP:]
    peak_gb = torch.cuda.max_memory_reserved() / (1 << 30)
    return {"step_s": statistics.median(seconds), "peak_gb": peak_gb, "limit_s": _step_flop() / _matmul_rate()}


def _make_training(gb: int):
    """Return FLUX.1 dev of random weights, laid out for a tier, and its LoRA: bf16 from 80 GB on, float8 below, blocks swapped below 16."""
    import torch

    from library.memory.quantization import quantize_blocks
    from library.models.flux_model import Flux, FluxParams
    from networks.lora_flux import create_network

    torch.manual_seed(0)
    with torch.device("meta"):
        flux = Flux(FluxParams(**DEV)).to(torch.bfloat16)
    flux = flux.to_empty(device="cpu").eval().requires_grad_(False)
    for parameter in flux.parameters():
        parameter.data.normal_(std=0.02)
    if gb < 80:
        quantize_blocks(flux, "fp8", torch.bfloat16)
    _place(flux, TIERS_GB[gb])
    flux.gradient_checkpointing = True
    return flux, create_network(flux, None, rank=4, alpha=1.0, seed=0).to("cuda")


def _place(flux, num_swapped: int) -> None:
    """Bring the model to the card, but for the last `num_swapped` blocks, which visit it."""
    import torch

    from library.memory.offload import swap_last_blocks

    blocks = [*flux.double_blocks, *flux.single_blocks]
    for part in [*blocks[: len(blocks) - num_swapped], *(child for name, child in flux.named_children() if not name.endswith("_blocks"))]:
        part.to("cuda")
    if num_swapped:
        swap_last_blocks(flux, num_swapped, torch.device("cuda"))


def _step(flux, network) -> float:
    """Return the seconds of one forward and backward over 1,024 picture and 512 text tokens."""
    import torch

    from library.models.flux_math import image_ids, text_ids

    img, txt, y = (torch.randn(shape, device="cuda") for shape in ((1, 1024, 64), (1, 512, 4096), (1, 768)))
    time_, guidance = torch.full((1,), 0.6, device="cuda"), torch.ones(1, device="cuda")
    torch.cuda.synchronize()
    began = time.perf_counter()
    with torch.autocast("cuda", torch.bfloat16):
        out = flux(img.requires_grad_(), image_ids(1, 64, 64, "cuda"), txt, text_ids(1, 512, "cuda"), time_, y, guidance)
    out.float().square().mean().backward()
    network.zero_grad()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _step_flop() -> float:
    """Operations of a step at 1,536 tokens, counted as in limits.py: forward, recompute, gradients of inputs."""
    tokens, width, blocks = 1536, DEV["hidden_size"], DEV["depth"] + DEV["depth_single_blocks"]
    linear = 2.0 * blocks * tokens * width * (4 * width + 2 * DEV["mlp_dim"])
    return 3 * linear + 4.5 * 4.0 * blocks * tokens**2 * width


def _matmul_rate() -> float:
    """bfloat16 operations per second of the widest Linear at 1,536 tokens."""
    import torch

    x, weight = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for shape in ((1536, 3072), (21504, 3072)))
    for _ in range(5):
        torch.nn.functional.linear(x, weight)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(50):
        torch.nn.functional.linear(x, weight)
    torch.cuda.synchronize()
    return 50 * 2.0 * 1536 * 3072 * 21504 / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(_measure_tier(int(sys.argv[1]))))
