"""kohya's metadata file: captions and tags of images, by .json or .jsonl; errors in it are reported."""

import json

import pytest

from library.data.image_index import read_metadata_file
from library.data.schema import Subset
from library.errors import TrainerError
from tests.support.photos import write_cats


@pytest.fixture(name="read")
def fixture_read(tmp_path):
    write_cats(tmp_path / "cats", count=2)

    def read(content, name="meta.json", image_dir="cats", **options):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        folder = str(tmp_path / image_dir) if image_dir else ""
        return read_metadata_file(Subset(image_dir=folder, metadata_file=str(tmp_path / name), **options))

    return read


def test_tags_follow_caption(read, tmp_path):
    table = {
        "cat 1.png": {"caption": "one", "tags": "a, b", "image_size": [1, 1]},
        str(tmp_path / "cats" / "cat 0.png"): {"tags": "é"},
    }
    assert read(table) == [(tmp_path / "cats" / "cat 0.png", "é"), (tmp_path / "cats" / "cat 1.png", "one,a, b")]


def test_old_files_leave_ending_out_and_jsonl_has_one_image_per_line(read, tmp_path):
    assert read({"cat 0": {"caption": "zero"}})[0][0].name == "cat 0.png"
    lines = f'{{"image_path": "{tmp_path}/cats/cat 1.png", "caption": "one"}}\n\n{{"image_path": "{tmp_path}/cats/cat 0.png"}}\n'
    assert [caption for _, caption in read(lines, "meta.jsonl", image_dir="")] == ["", "one"]


def test_lines_count_with_wildcards_and_tags_follow_each(read):
    entry = {"cat 0.png": {"caption": "one\ntwo", "tags": "a\nb"}}
    assert read(entry)[0][1] == "one two,a,b"
    assert read(entry, enable_wildcard=True)[0][1] == "one,a,b\ntwo,a,b"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", r"meta\.json is not valid JSON"),
        ("[]", "not a table of images"),
        ({"cat 9.png": {}}, r"names .*cat 9\.png, which is missing"),
        ({"cat 0.png": "text"}, r"cat 0\.png is not a table"),
        ({"cat 0.png": {"caption": 3}}, r"of cat 0\.png must be texts"),
        ({"cat 0.png": {"caption": "a\0b"}}, r"of cat 0\.png must be texts without control characters"),
    ],
)
def test_invalid_content_is_reported(content, named, read):
    with pytest.raises(TrainerError, match=named):
        read(content)


def test_invalid_line_is_reported(read):
    with pytest.raises(TrainerError, match="line 2, has no image_path"):
        read('{"image_path": "cat 0.png"}\n{"caption": "x"}\n', "meta.jsonl")
    with pytest.raises(TrainerError, match="image_dir"):
        read({"cat 0.png": {}}, image_dir="")


def test_file_in_another_encoding_is_reported(read, tmp_path):
    read({})
    (tmp_path / "meta.json").write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(TrainerError, match=r"meta\.json is not valid JSON"):
        read_metadata_file(Subset(image_dir="x", metadata_file=str(tmp_path / "meta.json")))


@pytest.mark.parametrize(
    ("name", "content"), [("meta.json", '{"cat 0.png": {"caption": "é"}}'), ("meta.jsonl", '{"image_path": "cat 0.png", "caption": "é"}\n')]
)
def test_byte_order_mark_is_ignored(name, content, read, tmp_path):
    assert read("\ufeff" + content, name) == [(tmp_path / "cats" / "cat 0.png", "é")]
