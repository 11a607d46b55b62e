"""The example is eight real photos with captions that begin with the trigger."""

from fluxgym.dataset.example import NUM_IMAGES, TRIGGER, write_example
from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.folder_index import FolderIndex


def test_example_images_have_captions(tmp_path):
    write_example(tmp_path)
    captions = [item.caption for item in ImageFolder(tmp_path).items()]
    assert len(captions) == len(FolderIndex(tmp_path).sizes()) == NUM_IMAGES == 8
    assert all(caption.startswith(TRIGGER) for caption in captions)
    assert all(min(size) >= 256 for size in FolderIndex(tmp_path).sizes())
