"""Buckets keep the area and the shape of images; sizes and cache keys are those of earlier versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.contract.buckets import (
    BucketRule,
    Fit,
    bucket_sizes,
    cover,
    default_bounds,
    default_step,
    fit_into_buckets,
    fit_without_upscale,
)

SIZES = bucket_sizes((512, 512), 256, 1024, 64)
SIDE = st.integers(1, 6000)


def test_buckets_at_512_match_kohya():
    assert (512, 512) in SIZES
    assert {(256, 1024), (1024, 256), (640, 384), (384, 640), (448, 576)} <= set(SIZES)
    assert all(w % 64 == h % 64 == 0 and w * h <= 512 * 512 and min(w, h) >= 256 and max(w, h) <= 1024 for w, h in SIZES)


@given(SIDE, SIDE)
def test_resized_image_covers_its_bucket(width, height):
    fit = fit_into_buckets((width, height), SIZES)
    assert fit.bucket in SIZES
    assert min(resized - side for resized, side in zip(fit.resized, fit.bucket, strict=True)) == 0


def test_nearest_shape_is_chosen():
    assert fit_into_buckets((1000, 1000), SIZES).bucket == (512, 512)
    assert fit_into_buckets((3000, 1000), SIZES).bucket[0] > fit_into_buckets((3000, 1000), SIZES).bucket[1]
    assert cover((1000, 500), (512, 512)).resized == (1024, 512)


def test_bounds_are_rounded_to_bucket_steps():
    assert bucket_sizes((512, 512), 300, 1000, 64) == bucket_sizes((512, 512), 256, 1024, 64)
    assert bucket_sizes((512, 512), 0, 1024, 64) == bucket_sizes((512, 512), 64, 1024, 64)


def test_image_smaller_than_step_keeps_its_shape():
    assert fit_without_upscale((32, 200), (512, 512), 64).resized == (64, 400)


@given(SIDE, SIDE)
def test_nothing_is_enlarged_beyond_one_step(width, height):
    fit = fit_without_upscale((width, height), (512, 512), 64)
    assert fit.bucket[0] % 64 == fit.bucket[1] % 64 == 0
    assert fit.bucket[0] <= max(64, width)
    assert fit.bucket[1] <= max(64, height)


def test_fit_text_equals_that_of_earlier_caches():
    assert str(Fit((512, 448), (597, 448))) == "Fit(bucket=(512, 448), resized=(597, 448))"


def test_bucket_sizes_at_512_match_kohya():
    assert SIZES == (
        (256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512), (576, 448), (640, 384),
        (704, 320), (768, 320), (832, 256), (896, 256), (960, 256), (1024, 256),
    )  # fmt: skip


RULES = {
    "buckets": BucketRule(resolution=(512, 512), enabled=True, low=256, high=1024, step=64),
    "no upscale": BucketRule(resolution=(512, 512), enabled=True, low=256, high=1024, step=64, no_upscale=True),
    "none": BucketRule(resolution=(512, 512), enabled=False),
}


@pytest.mark.parametrize(
    ("rule", "image", "bucket", "resized"),
    [
        ("buckets", (1200, 900), (576, 448), (597, 448)),
        ("buckets", (900, 1600), (384, 640), (384, 683)),
        ("buckets", (640, 384), (640, 384), (640, 384)),
        ("no upscale", (1200, 900), (512, 384), (512, 384)),
        ("no upscale", (300, 200), (256, 192), (300, 200)),
        ("none", (1200, 900), (512, 512), (683, 512)),
    ],
)
def test_fit_of_rule_equals_reference_sizes(rule, image, bucket, resized):
    assert RULES[rule].fit(image) == Fit(bucket, resized)


@pytest.mark.parametrize(
    ("resolution", "step", "low", "high"), [(64, 16, 32, 128), (256, 32, 128, 512), (512, 64, 256, 1024), (768, 64, 384, 1536)]
)
def test_default_bounds_are_half_and_twice_resolution(resolution, step, low, high):
    assert default_step(resolution) == step
    assert default_bounds(resolution, step) == (low, high)


def test_bucket_sizes_with_huge_bound_are_computed_quickly():
    assert bucket_sizes((512, 512), 256, 10**15, 64)[-1][0] == 1024
