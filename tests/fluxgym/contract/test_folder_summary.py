"""What a folder of images holds: images in subfolders, equal files, captions that need the trigger word."""

import pytest

from fluxgym.contract.folder_summary import content_digest, equal_files, images_in_subfolders, required_trigger


@pytest.mark.parametrize(("prefix", "suffix"), [("a photo of SKS cat, ", ""), ("", ", sks cat")])
def test_trigger_word_in_prefix_or_suffix_is_not_required_in_captions(prefix, suffix):
    assert required_trigger(" sks cat ", prefix=prefix, suffix=suffix) == ""
    assert required_trigger(" sks cat ", prefix="a photo of ", suffix="") == "sks cat"


def test_images_in_subfolders_are_counted(tmp_path):
    for name in ("in/a.png", "in/b.JPG", "in/c.txt", ".cache/x.png", "empty/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert images_in_subfolders(tmp_path) == {"in": 2}


def test_equal_content_is_found_and_only_files_of_one_size_are_read(tmp_path):
    for name, content in (("a", b"xx"), ("b", b"xx"), ("c", b"yy"), ("d", b"xxx")):
        (tmp_path / name).write_bytes(content)
    read = []

    def digest(name):
        read.append(name)
        return content_digest(tmp_path / name)

    assert equal_files({name: (tmp_path / name).stat().st_size for name in "abcd"}, digest) == (("a", "b"),)
    assert read == ["a", "b", "c"]
