"""Buckets of random sizes are kohya's, by figures recorded at 48d368fa; with KOHYA=CHECKOUT, also by kohya's own function.

docs/kohya-checkout.md says how to run it beside a checkout.
"""

import hashlib
import os
import random
from pathlib import Path

import pytest

from fluxgym.contract.buckets import BucketRule, Fit
from tests.support.kohya_buckets import kohya_fit

NUM_SIZES = 4_000
SIDES = (400, 6000)  # no image is so long that kohya has no bucket for it
RULES = {
    "512": BucketRule(resolution=(512, 512), enabled=True, low=256, high=1024, step=64),
    "1024": BucketRule(resolution=(1024, 1024), enabled=True, low=512, high=2048, step=32),
    "no upscale at 512": BucketRule(resolution=(512, 512), enabled=True, low=256, high=1024, step=64, no_upscale=True),
    "no upscale at 1024": BucketRule(resolution=(1024, 1024), enabled=True, low=512, high=2048, step=64, no_upscale=True),
    "no upscale at 768x512": BucketRule(resolution=(768, 512), enabled=True, low=256, high=1024, step=32, no_upscale=True),
}
RECORDED = {
    "512": "c70d5510ec20bd04",
    "1024": "9950adb92cc41573",
    "no upscale at 512": "c8a452b37e09dd38",
    "no upscale at 1024": "5a707f7dfd2d93db",
    "no upscale at 768x512": "f9eff334a5c4dae1",
}


def sizes():
    """Return the same random image sizes on every call."""
    draw = random.Random(12)
    return [(draw.randint(*SIDES), draw.randint(*SIDES)) for _ in range(NUM_SIZES)]


def digest(fit):
    """Return a hash of the buckets that a function gives to the random sizes."""
    return hashlib.sha256("".join(str(fit(size)) for size in sizes()).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", RULES)
def test_buckets_of_random_sizes_equal_recorded_kohya_buckets(name):
    assert digest(RULES[name].fit) == RECORDED[name]


@pytest.mark.skipif("KOHYA" not in os.environ, reason="KOHYA names no checkout of kohya-ss/sd-scripts")
@pytest.mark.parametrize("name", RULES)
def test_buckets_of_random_sizes_equal_those_of_kohya_checkout(name):
    theirs = kohya_fit(Path(os.environ["KOHYA"]), RULES[name])
    assert [(size, RULES[name].fit(size)) for size in sizes()] == [(size, theirs(size)) for size in sizes()]
    assert digest(theirs) == RECORDED[name]


@pytest.mark.parametrize(
    ("image", "resolution", "fit"),
    [
        ((3072, 3000), 1024, Fit((960, 960), (983, 960))),
        ((3000, 3072), 1024, Fit((960, 960), (960, 983))),
        ((4032, 3024), 1024, Fit((1088, 832), (1109, 832))),
        ((1920, 1080), 1024, Fit((1344, 768), (1365, 768))),
        ((1080, 1920), 512, Fit((384, 640), (384, 683))),
        ((1000, 700), 512, Fit((576, 384), (576, 403))),
        ((511, 509), 512, Fit((448, 448), (511, 509))),
        ((512, 512), 512, Fit((512, 512), (512, 512))),
    ],
)
def test_buckets_without_upscale_equal_kohya(image, resolution, fit):
    rule = BucketRule(resolution=(resolution, resolution), enabled=True, step=64, no_upscale=True)
    assert rule.fit(image) == fit


@pytest.mark.parametrize("image", [(20000, 50), (50, 20000), (20000, 10), (1, 60000), (100, 1), (1, 1), (63, 63), (64, 10)])
@pytest.mark.parametrize("resolution", [64, 512, 1024])
def test_strips_get_bucket_of_at_most_resolutions_area(image, resolution):
    fit = BucketRule(resolution=(resolution, resolution), enabled=True, step=64, no_upscale=True).fit(image)
    assert fit.bucket[0] * fit.bucket[1] <= resolution * resolution
    assert min(fit.bucket) == 64
    assert all(bucket % 64 == 0 and bucket <= resized for bucket, resized in zip(fit.bucket, fit.resized, strict=True))
