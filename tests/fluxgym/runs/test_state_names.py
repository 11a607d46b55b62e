"""LoRA names in any script become folder names, or are refused with one error message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.errors import BadName
from fluxgym.runs.state import MAX_SLUG_LENGTH, has_usual_folder, next_version, shown_name, slug_of


@pytest.mark.parametrize(("name", "slug"), [("My Cat LoRA", "my-cat-lora"), ("Кошка", "koshka"), ("猫", "mao"), ("a_b.c", "a-b-c")])
def test_names_in_any_script_give_slug(name, slug):
    assert slug_of(name) == slug


@pytest.mark.parametrize("name", ["", "   ", "!!!", "../../x", "a\\b", "🐱", "x" * 300, "a\0b", "..", "/", "my\ncat", "cat\u202e"])
def test_name_without_usable_characters_is_refused(name):
    with pytest.raises(BadName) as caught:
        slug_of(name)
    assert caught.value.field == "lora_name"
    assert len(str(caught.value)) < 200


@given(st.text(max_size=250))
def test_every_result_is_plain_folder_name(name):
    try:
        slug = slug_of(name)
    except BadName:
        return
    assert 0 < len(slug) <= MAX_SLUG_LENGTH
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not slug.startswith("-")


def test_versions_stay_short():
    assert next_version("cat", 2) == "cat-2"
    assert len(next_version("x" * 64, 10)) == MAX_SLUG_LENGTH


@pytest.mark.parametrize(
    ("slug", "name", "shown"),
    [
        ("my-cat", "My Cat", "My Cat"),
        ("my-cat-2", "My Cat", "my-cat-2"),
        ("my-cat-2", "My Cat 2", "My Cat 2"),
        (next_version("a" * 64, 3), "a" * 70, next_version("a" * 64, 3)),
        ("cat", "fluffy-cats", "fluffy-cats"),
        ("cat-2", "fluffy-cats", "fluffy-cats"),
        ("cat-2", "🐱", "🐱"),
        ("cat", None, "cat"),
    ],
)
def test_run_is_shown_by_its_loras_name_unless_another_run_had_it_before(slug, name, shown):
    assert shown_name(slug, {} if name is None else {"lora_name": name}) == shown


@pytest.mark.parametrize(
    ("slug", "name", "is_usual"),
    [("my-cat", "My Cat", True), ("my-cat-2", "my-cat-2", True), ("cat", "My Cat", False), ("cat", "🐱", False)],
)
def test_folder_is_shown_only_if_the_name_does_not_give_it(slug, name, is_usual):
    assert has_usual_folder(slug, name) is is_usual
