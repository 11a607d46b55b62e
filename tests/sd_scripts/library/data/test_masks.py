"""Masks: averaged to latents as NumPy does, shaped like their image, found by name."""

import numpy as np
import pytest
import torch
from PIL import Image

from library.data.masks import mask_of, masks_by_stem, read_mask, stack_masks, to_latent_size
from library.errors import TrainerError, warn


def test_latent_mask_is_mean_of_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8)
    means = pixels.reshape(4, 8, 6, 8).mean((1, 3)) / 255
    assert np.allclose(to_latent_size(Image.fromarray(pixels)).numpy(), means, atol=1e-6)


def test_mask_uses_red_channel_as_kohya(tmp_path):
    Image.new("RGB", (8, 8), (100, 200, 50)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", tmp_path / "p.png", (16, 16)).getextrema() == (100, 100)


def test_mask_of_another_shape_is_reported(tmp_path):
    Image.new("L", (8, 9)).save(tmp_path / "m.png")
    with pytest.raises(TrainerError, match=r"m\.png is 8x9, but .*p\.png is 16x16"):
        read_mask(tmp_path / "m.png", tmp_path / "p.png", (16, 16))


def test_masks_are_found_by_name_whatever_their_ending(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.b.png")
    masks = masks_by_stem(str(tmp_path), warn)
    assert mask_of(tmp_path / "elsewhere" / "a.b.jpg", masks, str(tmp_path)).name == "a.b.png"
    with pytest.raises(TrainerError, match=r"c\.jpg has no mask"):
        mask_of(tmp_path / "c.jpg", masks, str(tmp_path))


def test_image_without_mask_has_full_weight():
    assert stack_masks([None, None], 2, 3) is None
    assert torch.equal(stack_masks([None, torch.zeros(2, 3)], 2, 3), torch.stack([torch.ones(1, 2, 3), torch.zeros(1, 2, 3)]))
