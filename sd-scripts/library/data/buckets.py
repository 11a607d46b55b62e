"""Aspect-ratio buckets: to which size an image is brought, and what is cut off. Pure arithmetic, as kohya does it.

Sizes are (width, height) in pixels.
"""

import math
from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """How an image comes into its bucket: resized to cover it, then cut to it."""

    bucket: Size
    resized: Size


def bucket_sizes(resolution: Size, low: int, high: int, step: int) -> list[Size]:
    """Return every bucket of about the resolution's area: sides are multiples of `step` from `low` (down) to `high` (up), sorted."""
    low, high = max(step, low // step * step), -(-high // step) * step
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)} if square else set()
    for width in range(low, min(high, area // low) + 1, step):  # beyond that a bucket would be lower than `low`
        height = min(high, area // width // step * step)
        if height >= low:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def fit_into_buckets(image: Size, sizes: list[Size]) -> Fit:
    """Choose the bucket with the nearest aspect ratio (its own size if it is one)."""
    if image in sizes:
        return Fit(image, image)
    ratio = image[0] / image[1]
    bucket = min(sizes, key=lambda size: abs(size[0] / size[1] - ratio))
    return cover(image, bucket)


def fit_without_upscale(image: Size, resolution: Size, step: int) -> Fit:
    """Shrink an image to at most the resolution's area, never enlarge it, and cut both sides to multiples of `step`."""
    width, height = image
    area = resolution[0] * resolution[1]
    if width * height > area:
        ratio = width / height
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    bucket = max(step, width // step * step), max(step, height // step * step)
    return cover(image, bucket) if min(width, height) < step else Fit(bucket, (width, height))


def cover(image: Size, bucket: Size) -> Fit:
    """Resize so that the bucket is just covered, keeping the aspect ratio."""
    if image[0] / image[1] > bucket[0] / bucket[1]:
        return Fit(bucket, (max(bucket[0], round(image[0] * bucket[1] / image[1])), bucket[1]))
    return Fit(bucket, (bucket[0], max(bucket[1], round(image[1] * bucket[0] / image[0]))))
