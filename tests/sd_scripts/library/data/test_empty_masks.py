"""The trainer refuses a training of which no area is trained, before it loads models, and names single images that teach nothing."""

import pytest
from PIL import Image

from library.errors import TrainerError
from tests.support.photos import write_cats
from tests.support.training_data import make_data, shared_models


@pytest.fixture(scope="module", name="models")
def fixture_models():
    return shared_models()


@pytest.fixture(name="make")
def fixture_make(models, tmp_path):
    """Return a function that makes the data of three images with masks of these levels, or with these alpha channels, and other subsets."""
    cats = write_cats(tmp_path / "cats", count=3)

    def make(levels, *others, is_alpha=False):
        (tmp_path / "masks").mkdir()
        for path, level in zip(sorted(cats.glob("*.png")), levels, strict=True):
            image = Image.open(path).convert("RGB")
            mask = Image.new("L", image.size, level)
            image.putalpha(mask)
            mask.save(tmp_path / "masks" / path.name)
            if is_alpha:
                image.save(path)
        masks = {"alpha_mask": True} if is_alpha else {"conditioning_data_dir": str(tmp_path / "masks")}
        subset = {"image_dir": str(cats), "caption_extension": ".txt", **masks}
        return make_data(models, tmp_path / "d.toml", [subset, *others], masked_loss=True)

    return make


def test_black_masks_of_all_images_are_refused(make):
    with pytest.raises(TrainerError, match=r"The masks of all images are black, .* so nothing would be learned"):
        make((0, 0, 0))


def test_transparency_of_all_images_is_refused(make):
    with pytest.raises(TrainerError, match=r"All images are fully transparent, .* so nothing would be learned"):
        make((0, 0, 0), is_alpha=True)


def test_regularization_images_alone_do_not_count_as_something_to_train(make, tmp_path):
    others = write_cats(tmp_path / "others", count=1)
    with pytest.raises(TrainerError, match="The masks of all images are black"):
        make((0, 0, 0), {"image_dir": str(others), "caption_extension": ".txt", "is_reg": True})


def test_single_black_masks_are_named(make, capsys):
    make((0, 255, 1))
    assert (
        "1 image has a black mask, and only lighter areas of a mask are trained, so it teaches nothing: cat 0.png."
        in capsys.readouterr().err
    )


def test_single_transparent_images_are_named(make, capsys):
    make((0, 255, 0), is_alpha=True)
    assert "2 images are fully transparent" in (shown := capsys.readouterr().err)
    assert "they teach nothing: cat 0.png, cat 2.png." in shown


@pytest.mark.parametrize("is_alpha", [False, True])
def test_masks_with_any_light_area_give_no_message(make, capsys, is_alpha):
    make((1, 255, 128), is_alpha=is_alpha)
    assert "teach" not in capsys.readouterr().err
