"""Removed files are put back beside files that came since: nothing is replaced, and no image gets another caption."""

import pytest

from fluxgym.contract.caption_files import CAPTION, pair_captions
from fluxgym.sessions.restored_images import Restored


def put_back(tmp_path, removed, present):
    """Put removed files back beside others, all given with their content, and return the content of all files by name."""
    source, target = tmp_path / "removed", tmp_path / "present"
    for folder, files in ((source, removed), (target, present)):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    Restored.of(source, set(removed), target, set(present)).put_back()
    return {path.name: path.read_text() for path in target.iterdir()}


@pytest.mark.parametrize(
    ("removed", "present", "after"),
    [
        pytest.param({"a.png": "1", "a.txt": "x"}, {}, {"a.png": "1", "a.txt": "x"}, id="nothing else"),
        pytest.param({"a.png": "1", "a.txt": "x"}, {"a.png": "2"}, {"a.png": "2", "a-2.png": "1", "a-2.txt": "x"}, id="the name is taken"),
        pytest.param({"a.png": "1", "a.txt": "x"}, {"a.jpg": "2"}, {"a.jpg": "2", "a-2.png": "1", "a-2.txt": "x"}, id="the stem is taken"),
        pytest.param({"a.png": "1", "a.txt": "x"}, {"A.txt": "y"}, {"A.txt": "y", "a.png": "1", "a.txt": "x"}, id="another case, not used"),
        pytest.param({"a.png": "1", "A.txt": "x"}, {"a.txt": "y"}, {"a.txt": "y", "a-2.png": "1", "a-2.txt": "x"}, id="a better caption came"),
        pytest.param({"a.png": "1"}, {"a.txt": "y"}, {"a.txt": "y", "a-2.png": "1"}, id="a caption waits for another image"),
        pytest.param(
            {"me_1_2_3_4.png": "1", "me.png": "2", "me.txt": "x"},
            {"me.txt": "y"},
            {"me.txt": "y", "me-2.png": "2", "me-2.txt": "x", "me_1_2_3_4-2.png": "1", "me_1_2_3_4-2.txt": "x"},
            id="two stems with one caption",
        ),
        pytest.param({"b.txt": "x"}, {"b.png": "1", "b.png.txt": "y"}, {"b.png": "1", "b.png.txt": "y", "b-2.txt": "x"}, id="another got its own"),
        pytest.param({"b.txt": "x"}, {"b.txt": "y", "B-2.png": "1"}, {"b.txt": "y", "B-2.png": "1", "b-3.txt": "x"}, id="free in any case"),
    ],
)  # fmt: skip
def test_files_are_put_back_without_a_change_of_those_that_came_since(removed, present, after, tmp_path):
    assert put_back(tmp_path, removed, present) == after
    before, now = pair_captions(present, CAPTION).of, pair_captions(after, CAPTION).of
    assert {image: now[image] for image in before} == before
