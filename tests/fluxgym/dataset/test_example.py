"""The example is eight real photos with captions that begin with the trigger."""

from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.dataset.folder import ImageFolder, sizes


def test_example_images_have_captions(tmp_path):
    assert write_example(tmp_path) == 8
    assert all(item.caption.startswith(TRIGGER) for item in ImageFolder(tmp_path).items())
    assert all(min(size) >= 256 for size in sizes(tmp_path))
