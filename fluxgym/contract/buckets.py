"""Aspect-ratio buckets: the size at which an image is trained, and how it is resized and cropped to it. Pure arithmetic, as in kohya's trainer.

Sizes are (width, height) in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

Size = tuple[int, int]
GRID = 16  # pixels per side of one transformer token
STEP = 64  # largest default distance between bucket sides


@dataclass(frozen=True)
class Fit:
    """How an image is brought to its bucket: resized so that it covers the bucket, then cropped.

    Keys of feature caches contain the text of this class: its name and the names and order of its fields never change.
    """

    bucket: Size
    resized: Size


@dataclass(frozen=True, kw_only=True)
class BucketRule:
    """The bucket settings of a dataset. `low` and `high` are the smallest and largest side, `step` the distance between sides."""

    resolution: Size
    enabled: bool
    low: int = 0
    high: int = 0
    step: int = STEP
    no_upscale: bool = False

    def fit(self, image: Size) -> Fit:
        """Return how an image of this size is trained."""
        if not self.enabled:
            return cover(image, self.resolution)
        if self.no_upscale:
            return fit_without_upscale(image, self.resolution, self.step)
        return fit_into_buckets(image, bucket_sizes(self.resolution, self.low, self.high, self.step))


def default_step(resolution: int) -> int:
    """Return the distance between bucket sides for a square resolution: 64, less below 512."""
    return min(STEP, max(GRID, resolution // 8 // GRID * GRID))


def default_bounds(resolution: int, step: int) -> tuple[int, int]:
    """Return the smallest and largest bucket side for a square resolution: half and twice of it, in whole steps."""
    return max(GRID, resolution // 2 // step * step), resolution * 2 // step * step


@lru_cache(maxsize=64)
def bucket_sizes(resolution: Size, low: int, high: int, step: int) -> tuple[Size, ...]:
    """Return every bucket of at most the resolution's area, sorted; sides are multiples of step from low (rounded down) to high (up)."""
    low, high = max(step, low // step * step), -(-high // step) * step
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)} if square else set()
    for width in range(low, min(high, area // low) + 1, step):  # a wider bucket would be lower than `low`
        height = min(high, area // width // step * step)
        if height >= low:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def fit_into_buckets(image: Size, sizes: Sequence[Size]) -> Fit:
    """Choose the bucket with the nearest aspect ratio, the first of several; an image of a bucket's size keeps it."""
    if image in sizes:
        return Fit(image, image)
    ratio = image[0] / image[1]
    return cover(image, min(sizes, key=lambda size: abs(size[0] / size[1] - ratio)))


def fit_without_upscale(image: Size, resolution: Size, step: int) -> Fit:
    """Shrink an image to at most the resolution's area and crop both sides to multiples of step, as kohya does.

    Where a side would be shorter than one step, which kohya cannot train, the bucket is one step there and the image covers it.
    """
    area = resolution[0] * resolution[1]
    resized = image if image[0] * image[1] <= area else _shrunk(image, area, step)
    width, height = (side // step * step for side in resized)
    return Fit((width, height), resized) if width and height else cover(image, _strip((width, height), area, step))


def _shrunk(image: Size, area: int, step: int) -> Size:
    """Return an image's size, shrunk to an area, with one side a multiple of step: the side that changes the aspect ratio less.

    One side is 0 if it would be shorter than one step.
    """
    ratio = image[0] / image[1]
    ideal_width = math.sqrt(area * ratio)
    width, height = _whole_steps(ideal_width, step), _whole_steps(area / ideal_width, step)
    height_of_width, width_of_height = _whole_steps(width / ratio, step), _whole_steps(height * ratio, step)
    if not height or not height_of_width:
        return (width, 0) if width else (0, height)
    if abs(width / height_of_width - ratio) < abs(width_of_height / height - ratio):
        return width, _nearest(width / ratio)
    return _nearest(height * ratio), height


def _strip(bucket: Size, area: int, step: int) -> Size:
    """Return a bucket whose missing side (0) is replaced by step pixels, of at most the area."""
    longest = max(step, area // step // step * step)
    width, height = (min(longest, max(step, side)) for side in bucket)
    return width, height


def cover(image: Size, bucket: Size) -> Fit:
    """Resize an image so that it just covers the bucket; the aspect ratio is kept, and halves are rounded up, as in kohya."""
    axis = 1 if image[0] / image[1] > bucket[0] / bucket[1] else 0
    scale = bucket[axis] / image[axis]
    width, height = (max(side, _nearest(length * scale)) for side, length in zip(bucket, image, strict=True))
    return Fit(bucket, (width, height))


def _nearest(length: float) -> int:
    return int(length + 0.5)


def _whole_steps(length: float, step: int) -> int:
    return _nearest(length) // step * step
