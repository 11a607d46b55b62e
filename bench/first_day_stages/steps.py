"""Stages that time a whole step at FLUX.1 dev's shapes and compare its memory with the prediction of tests/gpu/fake_cuda."""

import time
from pathlib import Path

import torch

from bench.first_day_stages.common import DEVICE, GIB, HAS_GPU, attempt, make_training, peak_memory, record, run_step, synchronize, timed
from bench.trainer_gpu import CARDS_GB
from fluxgym.config.vram_tiers import TIERS, Tier
from fluxgym.runs.launch_spec import to_words
from library.placement.activations import BlockCheckpointing

FP8, CHECKPOINTING = "--fp8_base", ("full", "products", "none")
PREDICTED_LIVE = {  # GiB at 512 px, rank 16, batch 1, without the CUDA context
    ("bf16", "full"): 23.38, ("bf16", "none"): 34.54, ("fp8", "full"): 12.42, ("fp8", "products"): 17.03, ("fp8", "none"): 23.59,
}  # fmt: skip
PREDICTED_RESERVED = {"24G": 23.71, "20G": 13.07, "16G": 12.94, "12G": 7.46, "10G": 6.62, "8G": 4.89}  # GiB, the same
OUTSIDE_GIB = 0.6  # context and screen, which the emulated card has to hold too
TOP_KERNELS = 14


def steps(_work: Path) -> None:
    """Time the step in bf16 and fp8 under each kind of checkpointing, with its profile and its host synchronizations."""
    variants = {"as trained": {}, "without autocast": {"autocast": False}, "input without gradient": {"input_gradient": False}}
    for kind in ("bf16", "fp8"):
        flux, network = make_training([FP8] if kind == "fp8" else [])
        for checkpointing in CHECKPOINTING:
            budget = 1 << 60 if checkpointing == "products" else 0
            flux.block_runner = None if checkpointing == "none" else BlockCheckpointing(budget_bytes=budget)
            for variant, options in variants.items() if checkpointing != "products" else (("as trained", {}),):
                predicted = PREDICTED_LIVE.get((kind, checkpointing)) if HAS_GPU else None
                attempt(
                    "steps",
                    f"{kind}, checkpointing {checkpointing}, {variant}",
                    lambda options=options, flux=flux, network=network: _measured(lambda: run_step(flux, network, **options)),
                    predicted=predicted and {"live_gib": predicted},
                )
        if HAS_GPU:
            attempt("steps", f"{kind}: kernels of a step, ms and count", lambda flux=flux, network=network: _profile(flux, network))
            attempt("steps", f"{kind}: a step without a host synchronization", lambda flux=flux, network=network: _no_sync(flux, network))
        del flux, network


def _measured(action) -> dict[str, float | None]:
    if HAS_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(DEVICE)
    return timed(action, repeats=5, warm_up=2) | peak_memory()


def _profile(flux, network) -> dict[str, object]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run_step(flux, network)
        synchronize()
    events = [event for event in profiled.key_averages() if event.self_device_time_total]
    slowest = sorted(events, key=lambda event: -event.self_device_time_total)[:TOP_KERNELS]
    top = {event.key[:60]: f"{event.self_device_time_total / 1e3:.1f} ({event.count})" for event in slowest}
    return {"kernels": sum(event.count for event in events), **top}


def _no_sync(flux, network) -> str:
    torch.cuda.set_sync_debug_mode("error")
    try:
        run_step(flux, network)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "none"


def tiers(_work: Path) -> None:
    """Time the step of each VRAM tier on a card of its size, emulated by a limit on the allocator; without an optimizer's state."""
    for name, tier in TIERS.items():
        predicted = {"reserved_gib": PREDICTED_RESERVED[name]} if HAS_GPU else None
        attempt("tiers", f"{name} on {CARDS_GB[name]} GB", lambda tier=tier: _tier(tier), predicted=predicted)


def _tier(tier: Tier) -> dict[str, float | None]:
    if HAS_GPU:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    flux, network = make_training([*([] if FP8 in tier.without else [FP8]), *to_words(tier.options)])
    if HAS_GPU:
        total = torch.cuda.get_device_properties(DEVICE).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, (CARDS_GB[tier.name] - OUTSIDE_GIB) * GIB / total), DEVICE)
    return _measured(lambda: run_step(flux, network))


def compile_blocks(_work: Path) -> None:
    """Time the step with compiled blocks, and count graphs and breaks."""
    from torch._dynamo.utils import counters

    flux, network = make_training([FP8] if HAS_GPU else [])
    backend = "inductor" if HAS_GPU else "aot_eager"
    for block in flux.blocks:
        block.compile(backend=backend, dynamic=False)
    for checkpointing in (False, True):
        flux.block_runner = BlockCheckpointing(is_compiled=True) if checkpointing else None
        attempt("compile", f"first step, checkpointing {checkpointing}", lambda: _first(flux, network))
        attempt("compile", f"later steps, checkpointing {checkpointing}", lambda: _measured(lambda: run_step(flux, network)))
    breaks = sum(counters["graph_break"].values())
    record("compile", "graphs", found={"unique": counters["stats"].get("unique_graphs"), "breaks": breaks})


def _first(flux, network) -> dict[str, float]:
    began = time.perf_counter()
    run_step(flux, network)
    synchronize()
    return {"s": time.perf_counter() - began}
