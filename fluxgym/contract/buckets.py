"""Into which size the trainer brings an image. The same arithmetic as the trainer's own, held equal to it by a test, since neither may
import the other. Sizes are (width, height) in pixels."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from fluxgym.errors import ConfigError

Size = tuple[int, int]
GRID = 16
STEP = 64


def bounds(resolution: int, advanced: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the buckets' smallest and largest side and their step: as set, else half and twice the resolution.

    Raises ConfigError for steps and bounds that the trainer refuses.
    """
    step = int(advanced.get("bucket_reso_steps", min(STEP, max(GRID, resolution // 8 // GRID * GRID))))
    if not GRID <= step <= resolution or step % GRID:
        raise ConfigError(f"Buckets in steps of {step} do not fit the resolution {resolution}; use a multiple of {GRID}.", field="advanced")
    low = int(advanced.get("min_bucket_reso", max(GRID, resolution // 2 // step * step)))
    high = int(advanced.get("max_bucket_reso", resolution * 2 // step * step))
    if not low <= resolution <= high:
        raise ConfigError(f"Buckets of {low} to {high} pixels do not enclose the resolution {resolution}.", field="advanced")
    return low, high, step


@lru_cache(maxsize=64)
def bucket_sizes(resolution: Size, low: int, high: int, step: int) -> tuple[Size, ...]:
    """Return every bucket of about the resolution's area, in order."""
    low, high = max(step, low // step * step), -(-high // step) * step
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // step) * step
    found = {(square, square)} if square else set()
    for width in range(low, min(high, area // low) + 1, step):  # beyond that a bucket would be lower than `low`
        height = min(high, area // width // step * step)
        if height >= low:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def buckets_of(images: Iterable[Size], resolution: int, advanced: Mapping[str, Any], *, enable_bucket: bool) -> Counter[Size]:
    """Return how many of the images are trained at which size; each size of image is looked up once."""
    counts: Counter[Size] = Counter()
    for size, number in Counter(images).items():
        counts[bucket_of(size, resolution, advanced, enable_bucket=enable_bucket)] += number
    return counts


def bucket_of(image: Size, resolution: int, advanced: Mapping[str, Any], *, enable_bucket: bool) -> Size:
    """Return the size that an image is trained at."""
    if not enable_bucket:
        return resolution, resolution
    low, high, step = bounds(resolution, advanced)
    if advanced.get("bucket_no_upscale"):
        return _without_upscale(image, resolution, step)
    found = bucket_sizes((resolution, resolution), low, high, step)
    ratio = image[0] / image[1]
    return image if image in found else min(found, key=lambda size: abs(size[0] / size[1] - ratio))


def _without_upscale(image: Size, resolution: int, step: int) -> Size:
    width, height = image
    if width * height > resolution * resolution:
        ratio = width / height
        width, height = round(math.sqrt(resolution**2 * ratio)), round(math.sqrt(resolution**2 / ratio))
    return max(step, width // step * step), max(step, height // step * step)
