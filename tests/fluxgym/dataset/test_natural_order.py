"""Names are shown in natural order."""

import random

import pytest

from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.natural_order import natural_key
from fluxgym.dataset.recode import captions_to_utf8
from tests.support.photos import write_cats


def test_numbers_in_names_are_compared_by_value_and_texts_without_regard_to_case():
    ordered = ["2.png", "10.png", "Cat-1.png", "cat-2.png", "cat-2b.png", "cat-10.png", "dog.png", "x9.png", "x" + "9" * 200 + ".png"]
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=natural_key) == ordered


@pytest.mark.parametrize("names", [["a01", "a1"], ["A1", "a1"]])
def test_names_that_differ_only_in_case_or_zeros_have_one_order(names):
    assert [sorted(given, key=natural_key) for given in (names, names[::-1])] == [sorted(names)] * 2


def test_images_names_and_captions_are_listed_in_natural_order(tmp_path):
    (image,) = write_cats(tmp_path / "photos", count=1, size=64).glob("*.png")
    names = ["cat-1", "cat-2", "cat-10"]
    folder = tmp_path / "images"
    folder.mkdir()
    for name in reversed(names):
        (folder / f"{name}.png").write_bytes(image.read_bytes())
        (folder / f"{name}.txt").write_bytes("Kätzchen".encode("cp1252"))
    images = [f"{name}.png" for name in names]
    assert ImageFolder(folder).names() == [item.name for item in ImageFolder(folder).items()] == images
    assert ImageFolder(folder).captions().matching("cat") == images
    assert list(captions_to_utf8(folder, "cp1252").texts) == [f"{name}.txt" for name in names]
