"""Names of uploaded files are made safe, or refused with the remedy."""

import pytest

from fluxgym.dataset.file_names import safe_name
from fluxgym.errors import DatasetError


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../etc/x.png", "x.png"), ("C:\\x\\y.png", "y.png"), (".hidden.png", "hidden.png"), ("a\0b.png", "ab.png"), ("猫.png", "猫.png")],
)
def test_file_name_is_made_safe(name, safe):
    assert safe_name(name) == safe


def test_long_file_name_is_shortened_and_an_empty_one_refused():
    assert len(safe_name("é" * 400 + ".png").encode()) <= 200
    assert safe_name("é" * 400 + ".png").endswith(".png")
    with pytest.raises(DatasetError):
        safe_name("../")


@pytest.mark.parametrize("name", ["console.png", "com.png", "nul_.txt", "aux-1.png", "a.con.png"])
def test_names_that_windows_does_not_reserve_are_accepted(name):
    assert safe_name(name) == name
