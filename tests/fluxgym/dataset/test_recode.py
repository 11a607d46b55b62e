"""Captions of old editors become UTF-8, or nothing is changed."""

import pytest

from fluxgym.dataset.recode import captions_to_utf8
from fluxgym.errors import DatasetError


def test_only_captions_that_are_not_utf8_are_converted(tmp_path):
    (tmp_path / "a.txt").write_bytes("Kätzchen".encode("cp1252"))
    (tmp_path / "b.txt").write_text("Hündchen", encoding="utf-8")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8")
    converted = captions_to_utf8(tmp_path, "cp1252")
    assert converted.texts == {"a.txt": "Kätzchen"}
    assert converted.kept_in.parent == tmp_path and converted.kept_in.name.startswith("captions-before-")
    assert {path.name: path.read_bytes() for path in converted.kept_in.iterdir()} == {"a.txt": "Kätzchen".encode("cp1252")}
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "Kätzchen\n"
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "Hündchen"
    assert (tmp_path / "c.jpg").read_bytes() == b"\xff\xd8"


@pytest.mark.parametrize(
    ("encoding", "words"), [("no-such", "is not an encoding"), ("ascii", "is not in ascii"), ("base64", "is not in base64")]
)
def test_another_encoding_changes_nothing(encoding, words, tmp_path):
    (tmp_path / "a.txt").write_bytes("Kätzchen".encode("cp1252"))
    with pytest.raises(DatasetError, match=words):
        captions_to_utf8(tmp_path, encoding)
    assert (tmp_path / "a.txt").read_bytes() == "Kätzchen".encode("cp1252")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_wrong_encoding_that_gives_control_characters_changes_nothing(encoding, tmp_path):
    data = "Kätzchen 猫".encode("utf-16-le")
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DatasetError, match=r"utf-16|is not in cp1252"):
        captions_to_utf8(tmp_path, encoding)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.txt", data)]
    assert captions_to_utf8(tmp_path, "utf-16").texts == {"a.txt": "Kätzchen 猫"}


def test_no_backup_is_kept_if_nothing_is_converted(tmp_path):
    (tmp_path / "a.txt").write_text("cat")
    assert captions_to_utf8(tmp_path, "cp1252").kept_in is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
