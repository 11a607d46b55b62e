"""Buckets keep the area and the shape of images."""

from hypothesis import given
from hypothesis import strategies as st

from library.data.buckets import bucket_sizes, cover, fit_into_buckets, fit_without_upscale

SIZES = bucket_sizes((512, 512), 256, 1024, 64)
SIDE = st.integers(1, 6000)


def test_kohyas_buckets_at_512():
    assert (512, 512) in SIZES
    assert {(256, 1024), (1024, 256), (640, 384), (384, 640), (448, 576)} <= set(SIZES)
    assert all(w % 64 == h % 64 == 0 and w * h <= 512 * 512 and min(w, h) >= 256 and max(w, h) <= 1024 for w, h in SIZES)


@given(SIDE, SIDE)
def test_the_resized_image_covers_its_bucket(width, height):
    fit = fit_into_buckets((width, height), SIZES)
    assert fit.bucket in SIZES
    assert fit.resized[0] >= fit.bucket[0]
    assert fit.resized[1] >= fit.bucket[1]
    assert fit.resized[0] == fit.bucket[0] or fit.resized[1] == fit.bucket[1]


def test_the_nearest_shape_is_chosen():
    assert fit_into_buckets((1000, 1000), SIZES).bucket == (512, 512)
    assert fit_into_buckets((3000, 1000), SIZES).bucket[0] > fit_into_buckets((3000, 1000), SIZES).bucket[1]
    assert cover((1000, 500), (512, 512)).resized == (1024, 512)


def test_bounds_are_brought_to_whole_steps():
    assert bucket_sizes((512, 512), 300, 1000, 64) == bucket_sizes((512, 512), 256, 1024, 64)
    assert bucket_sizes((512, 512), 0, 1024, 64) == bucket_sizes((512, 512), 64, 1024, 64)


def test_an_image_smaller_than_a_step_keeps_its_shape():
    assert fit_without_upscale((32, 200), (512, 512), 64).resized == (64, 400)


@given(SIDE, SIDE)
def test_nothing_is_enlarged_beyond_one_step(width, height):
    fit = fit_without_upscale((width, height), (512, 512), 64)
    assert fit.bucket[0] % 64 == fit.bucket[1] % 64 == 0
    assert fit.bucket[0] <= max(64, width)
    assert fit.bucket[1] <= max(64, height)
