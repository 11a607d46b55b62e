"""The rules give the images, splits and repeats of earlier versions."""

import pytest

from fluxgym.contract.dataset_rules import held_out_indices, is_image_name, regularization_repeats, upright_size


@pytest.mark.parametrize(
    "name", ["a.png", "a.JPG", "a.b.jpeg", "a.webp", "a.bmp", "a.gif", "a.tif", "a.tiff", "a.avif", "a.HEIC", "a.heif", "a.jxl", ".a.png"]
)
def test_is_image_name_of_image_is_true(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["", "png", ".png", "..png", "a.txt", "a.png.txt", "a.", "a.eps", "a.pdf", "a.svg"])
def test_is_image_name_of_another_file_is_false(name):
    assert not is_image_name(name)


@pytest.mark.parametrize(
    ("image_format", "orientation", "size"),
    [("JPEG", None, (3, 2)), ("JPEG", 3, (3, 2)), ("JPEG", 6, (2, 3)), ("PNG", 8, (2, 3)), ("TIFF", 6, (3, 2)), ("JPEG", "x", (3, 2))],
)
def test_upright_size_swaps_sides_of_rotated_images(image_format, orientation, size):
    assert upright_size((3, 2), image_format, lambda: orientation) == size


@pytest.mark.parametrize(
    ("count", "share", "seed", "indices"),
    [
        (5, 0.4, 42, {0, 1}),
        (10, 0.2, 0, {6, 8}),
        (10, 0.3, 7, {0, 3, 4}),
        (20, 0.15, 1, {8, 9, 19}),
        (3, 0.0, 5, set()),
        (3, 0.3, 5, set()),
        (4, 1.0, 5, {0, 1, 2, 3}),
    ],
)
def test_held_out_indices_equal_reference(count, share, seed, indices):
    assert held_out_indices(count, share, seed) == indices


@pytest.mark.parametrize(
    ("own", "total", "repeats"),
    [
        ([], 7, []),
        ([1, 1], 0, [0, 0]),
        ([1, 1, 1], 2, [1, 1, 0]),
        ([1, 1, 1], 3, [1, 1, 1]),
        ([1, 1, 1], 8, [3, 3, 2]),
        ([2, 1], 9, [5, 4]),
        ([5, 5], 6, [5, 1]),
    ],
)
def test_regularization_repeats_sum_to_total(own, total, repeats):
    assert regularization_repeats(own, total) == repeats
