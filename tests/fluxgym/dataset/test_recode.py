"""Captions of old editors become UTF-8, or nothing is changed."""

import pytest

from fluxgym.dataset.recode import captions_to_utf8
from fluxgym.errors import DatasetError


def test_only_captions_that_are_not_utf8_are_converted(tmp_path):
    (tmp_path / "a.txt").write_bytes("Kätzchen".encode("cp1252"))
    (tmp_path / "b.txt").write_text("Hündchen", encoding="utf-8")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8")
    assert captions_to_utf8(tmp_path, "cp1252") == {"a.txt": "Kätzchen"}
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
