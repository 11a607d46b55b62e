"""Masks that let nothing be trained are named before Start: some as a warning, all as an error. Masks that have any white are not."""

import pytest
from PIL import Image

from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.planning.plan import Planner
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    return write_cats(tmp_path / "images", count=3)


@pytest.fixture(name="found")
def fixture_found(tmp_path, images):
    """Return a function: what a plan with advanced settings reports beside the masks' settings, as (level, message)."""
    planner = Planner(small_installation(tmp_path))

    def found(**advanced):
        planned = planner.checked(planner.plan_unchecked(state(advanced=advanced), images))
        return [(problem.level, problem.message) for problem in planned.problems if "mask" in problem.message]

    return found


def write_masks(folder, images, levels, *, mode="L", scale=(0.25, 0.25)):
    """Write a mask of one level for each image, named as the image, none for the level None; its sides are scaled from the image's."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, level in zip(sorted(path for path in images.iterdir() if is_image_name(path.name)), levels, strict=True):
        if level is None:
            continue
        width, height = Image.open(path).size
        mask = Image.new(mode, (round(width * scale[0]), round(height * scale[1])), 0)
        mask.putpixel((0, 0), level)
        mask.save(folder / f"{path.stem}.png")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0, 0, 0), [("error", "The masks of all images are black")]),
        ((0, 255, 0), [("warning", "2 images have a black mask, and only lighter areas of a mask are trained, so they teach nothing: cat 0.png, cat 2.png.")]),
        ((1, 255, 255), []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["masks", "masks/dataset"])
def test_black_masks_are_named_before_start(found, images, tmp_path, levels, expected, where):
    write_masks(tmp_path / where, images, levels)
    reported = found(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    assert [(level, message[: len(words)]) for (level, message), (_, words) in zip(reported, expected, strict=True)] == expected


@pytest.mark.parametrize(("level", "expected"), [(256, [("error", "The masks of all images")]), (257, [])])
def test_mask_of_16_bits_is_read_as_by_the_trainer(found, images, tmp_path, level, expected):
    write_masks(tmp_path / "masks", images, (level,) * 3, mode="I;16")
    reported = found(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    assert [(level, message[: len("The masks of all images")]) for level, message in reported] == expected


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((255, None, None), "cat 1.png, cat 2.png have no mask in "),
        ((None, 255, 255), "cat 0.png has no mask in "),
        ((None, None, None), "cat 0.png, cat 1.png, cat 2.png have no mask in "),
    ],
)
def test_missing_masks_are_refused_before_start(found, images, tmp_path, levels, words):
    write_masks(tmp_path / "masks", images, levels)
    ((level, message),) = found(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    assert level == "error"
    assert message == f"{words}{tmp_path / 'masks'}; each image needs a mask of the same name there."


def test_mask_of_other_shape_is_refused_before_start(found, images, tmp_path):
    write_masks(tmp_path / "masks", images, (255, 255, 255), scale=(0.5, 0.25))
    ((level, message),) = found(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    assert level == "error"
    assert message.startswith("The mask cat 0.png is ")
    assert message.endswith("a mask needs its image's aspect ratio.")


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_unreadable_mask_is_named_with_its_folder_not_as_the_image_of_its_name(found, images, tmp_path, content):
    write_masks(tmp_path / "masks", images, (255, 255, 255))
    (tmp_path / "masks" / "cat 1.png").write_bytes(content)
    reported = found(masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    assert {level for level, _ in reported} == {"error"}
    assert all(message.startswith(f"The mask {tmp_path / 'masks' / 'cat 1.png'} ") for _, message in reported)


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 100] * 60)])
def test_masks_folder_with_a_name_that_is_too_long_is_not_an_exception(found, name):
    found(masked_loss=True, conditioning_data_dir=f"/{name}")


def test_black_masks_without_masked_loss_are_not_read(found, images, tmp_path):
    write_masks(tmp_path / "masks", images, (0, 0, 0))
    assert not [message for _, message in found(conditioning_data_dir=str(tmp_path / "masks")) if "black" in message]


@pytest.mark.parametrize(
    ("alphas", "expected"),
    [
        ((0, 0, 0), [("error", "All images are fully transparent")]),
        ((0, 255, 255), [("warning", "1 image is fully transparent, and alpha_mask trains opaque areas only, so it teaches nothing: cat 0.png.")]),
        ((None, 1, 255), []),
    ],
)  # fmt: skip
def test_fully_transparent_images_are_named_before_start(found, images, alphas, expected):
    for path, alpha in zip(sorted(images.glob("*.png")), alphas, strict=True):
        image = Image.open(path).convert("RGB")
        if alpha is not None:
            image.putalpha(Image.new("L", image.size, alpha))
        image.save(path)
    reported = found(alpha_mask=True, masked_loss=True)
    assert [(level, message[: len(words)]) for (level, message), (_, words) in zip(reported, expected, strict=True)] == expected


def test_mask_is_decoded_once_and_only_when_the_plan_may_wait(images, tmp_path):
    write_masks(tmp_path / "masks", images, (0, 0, 0))
    planner = Planner(small_installation(tmp_path))
    advanced = {"masked_loss": True, "conditioning_data_dir": str(tmp_path / "masks")}
    planned = planner.plan_unchecked(state(advanced=advanced), images)
    assert not planner.checked(planned, may_wait=False).are_images_decoded
    errors = [problem.message for problem in planner.checked(planned).errors]
    assert [problem.message for problem in planner.checked(planned, may_wait=False).errors] == errors
    assert any("black" in message for message in errors)
