"""Color changes and crops around faces: how often, how far, and always inside the image."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from library.data.schema import Subset
from library.data.transforms import MAX_HUE_SHIFT, change_colors, face_of, fit_face


def random(seed):
    return torch.Generator().manual_seed(seed)


def test_color_augmentation_changes_third_and_half_of_them_in_hue():
    photo = Image.fromarray(data.chelsea()).resize((30, 20))
    changed = [image for seed in range(400) if (image := change_colors(photo, random(seed))) != photo]
    assert 0.25 < len(changed) / 400 < 0.41
    values = [np.asarray(image.convert("HSV"))[..., 2].astype(int) for image in changed]
    same = sum(np.abs(each - np.asarray(photo.convert("HSV"))[..., 2]).max() <= 1 for each in values)
    assert 0.45 < same / len(changed) < 0.75  # a turned hue keeps the value, as the gammas nearest to 1 do


def test_hue_turns_by_sixteen_degrees_at_most_and_gamma_by_twentieth():
    red, grey = Image.new("RGB", (1, 1), (200, 40, 40)), Image.new("RGB", (1, 1), (128, 128, 128))
    turns, levels = [], []
    for seed in range(600):
        hue = colorsys.rgb_to_hsv(*(level / 255 for level in change_colors(red, random(seed)).getpixel((0, 0))))[0]
        turns.append((hue + 0.5) % 1 - 0.5)
        levels.append(change_colors(grey, random(seed)).getpixel((0, 0))[0])
    assert 0.8 * MAX_HUE_SHIFT < max(turns) < MAX_HUE_SHIFT + 1 / 256
    assert 0.8 * MAX_HUE_SHIFT < -min(turns) < MAX_HUE_SHIFT + 1 / 256
    low, high = (round(255 * (128 / 255) ** gamma) for gamma in (1.05, 0.95))
    assert low <= min(levels) < 128 < max(levels) <= high


def test_face_position_is_parsed_from_file_name(tmp_path):
    assert face_of(tmp_path / "ann_b_10_20_30_40.png") == (10, 20, 30, 40)
    assert face_of(tmp_path / "ann_20_30_40.png") is None
    assert face_of(tmp_path / "_10_20_30_40.png") is None


FACE = (300, 200, 100, 80)


def cut(seed, size=(600, 400), bucket=(128, 128), face=FACE, **options):
    """Return the scale and the cut's box in the resized image."""
    subset = Subset(image_dir="x", **({"face_crop_aug_range": (2.0, 4.0)} | options))
    fit, offset = fit_face(size, bucket, face, subset, random(seed))
    start = [int((fit.resized[axis] - bucket[axis]) * offset[axis]) for axis in (0, 1)]
    assert all(0 <= start[axis] <= fit.resized[axis] - bucket[axis] for axis in (0, 1))
    return fit.resized[0] / size[0], start


def test_face_fills_share_within_range():
    scales = [cut(seed)[0] for seed in range(100)]
    assert min(scales) == pytest.approx(128 / 100 / 4, abs=0.02)  # a quarter of the side, though not smaller than covers the bucket
    assert max(scales) == pytest.approx(128 / 100 / 2, abs=0.02)
    (only,) = {cut(seed, face_crop_aug_range=(3.0, 3.0))[0] for seed in range(5)}
    assert only == pytest.approx(128 / 300, abs=0.01)


def test_face_crop_is_centered_within_image():
    scale, start = cut(0, face_crop_aug_range=(3.0, 3.0))
    assert start == pytest.approx([300 * scale - 64, 200 * scale - 64], abs=1.5)
    starts = {tuple(cut(seed, random_crop=True)[1]) for seed in range(60)}
    assert len(starts) > 30
    assert cut(0, face=(0, 0, 100, 80), face_crop_aug_range=(3.0, 3.0))[1] == [0, 0]


def test_small_image_is_enlarged_to_cover_bucket():
    assert cut(0, size=(60, 80), face=(30, 40, 20, 20))[0] == pytest.approx(128 / 60, abs=0.01)
