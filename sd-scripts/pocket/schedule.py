"""The learning rate schedule of the pocket model's pretraining."""

import math

WARMUP_STEPS = 100


def cosine_with_warmup(step: int, num_steps: int, *, floor: float) -> float:
    """Return the factor of the learning rate at a step from 0: a linear warm-up times a cosine from 1 to `floor`."""
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return warmup * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / num_steps)))
