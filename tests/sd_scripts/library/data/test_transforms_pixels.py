"""Pixels and mask of one image stay on top of each other, however it is cut, turned and mirrored."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data

from library.data.image_index import index_images
from library.data.schema import Dataset, Subset
from library.data.transforms import load_pixels
from library.errors import warn


@pytest.fixture(name="image_of")
def fixture_image_of(tmp_path):
    """Write a photo whose mask is its own red channel: beside it, or as its alpha channel."""
    (tmp_path / "cats").mkdir()
    (tmp_path / "masks").mkdir()
    photo = Image.fromarray(data.chelsea())
    red = photo.getchannel("R")
    red.save(tmp_path / "masks" / "cat_220_130_150_140.png")

    def image_of(**options):
        image = photo.copy()
        if options.get("alpha_mask"):
            image.putalpha(red)
        image.save(tmp_path / "cats" / "cat_220_130_150_140.png")
        if not options.get("alpha_mask"):
            options["conditioning_data_dir"] = str(tmp_path / "masks")
        subset = Subset(image_dir=str(tmp_path / "cats"), **options)
        ((training_image,), _) = index_images([Dataset(resolution=(64, 96), subsets=(subset,))], 1, warn)
        return training_image

    return image_of


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("source", [{"alpha_mask": True}, {}], ids=["alpha", "beside"])
@pytest.mark.parametrize("cut", [{}, {"random_crop": True}, {"face_crop_aug_range": (1.0, 2.0)}], ids=["middle", "random", "face"])
def test_mask_is_cropped_like_image(cut, source, flip, image_of):
    training_image = image_of(**cut, **source)
    seen = []
    for seed in range(4):
        pixels, mask = load_pixels(training_image, flip, torch.Generator().manual_seed(seed))
        assert pixels.shape == (3, 96, 64)
        assert torch.allclose(mask, F.avg_pool2d((pixels[:1] + 1) / 2, 8)[0], atol=1e-5)
        seen.append(mask)
    assert len({mask.sum().item() for mask in seen}) == (4 if cut else 1)


def test_flipped_image_equals_mirror(image_of):
    training_image = image_of()
    pixels, mirrored = (load_pixels(training_image, flip, torch.Generator())[0].numpy() for flip in (False, True))
    assert np.array_equal(mirrored, pixels[..., ::-1])


def test_pixels_without_mask_have_no_mask(tmp_path):
    Image.new("RGB", (64, 96)).save(tmp_path / "a.png")
    ((training_image,), _) = index_images([Dataset(resolution=(64, 96), subsets=(Subset(image_dir=str(tmp_path)),))], 1, warn)
    pixels, mask = load_pixels(training_image, False, torch.Generator())
    assert mask is None
    assert (pixels == -1).all()
