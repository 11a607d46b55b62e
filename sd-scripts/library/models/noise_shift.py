"""The shift of noise levels by resolution: formulas that sampling and training share."""

from torch import Tensor


def shifted(u: Tensor, shift: float) -> Tensor:
    """Move noise levels towards 1 (shift > 1): the same shape."""
    return shift * u / (1 + (shift - 1) * u)


def resolution_mu(num_tokens: int) -> float:
    """Return FLUX's log shift for a number of image tokens: 0.5 at 256, 1.15 at 4096, a straight line through them."""
    return 0.5 + 0.65 * (num_tokens - 256) / 3840
