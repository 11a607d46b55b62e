"""Stateless random numbers: each draw is seeded by the run's seed and by names and counters that identify the draw.

No generator state has to be saved, so a resumed run draws the same numbers as an uninterrupted one.
"""

import hashlib

import torch


def derived_seed(seed: int, *path: int | str) -> int:
    """Hash a run's seed and a path of names and counters into a 63-bit seed."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """Return a CPU generator for one draw of a run, for example generator(42, "noise", step, micro_step).

    Noise is drawn on the CPU and moved, so that a GPU run sees the same noise as a CPU run.
    """
    return torch.Generator("cpu").manual_seed(derived_seed(seed, *path))
