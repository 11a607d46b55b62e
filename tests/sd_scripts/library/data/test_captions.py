"""Captions: kohya's options, repeatable by their generator."""

import math
from dataclasses import replace

import pytest
import torch

from library.data.captions import CaptionContext, caption_at, read_caption
from library.data.schema import Subset
from library.errors import TrainerError


def at(caption, epoch=0, seed=0, step=0, total_steps=1, **options):
    return caption_at(
        caption, Subset(image_dir="x", **options), torch.Generator().manual_seed(seed), CaptionContext(epoch, step, total_steps)
    )


def test_caption_gets_prefix_and_suffix():
    assert at("a cat, sitting") == "a cat, sitting"
    assert at("a cat", caption_prefix="photo,", caption_suffix="on a mat") == "photo, a cat on a mat"


def test_shuffling_keeps_first_tokens_and_all_tags():
    seen = {at("sks cat, a, b, c, d", shuffle_caption=True, keep_tokens=1, seed=seed) for seed in range(20)}
    assert len(seen) > 5
    assert all(caption.startswith("sks cat, ") and sorted(caption.split(", ")[1:]) == ["a", "b", "c", "d"] for caption in seen)
    assert at("x, y, z", shuffle_caption=True, seed=3) == at("x, y, z", shuffle_caption=True, seed=3)


def test_keep_tokens_separator_fixes_leading_tags():
    assert at("one, two ||| a ||| last", shuffle_caption=True, keep_tokens_separator="|||") == "one, two, a, last"


def test_caption_dropout_follows_rate_and_interval():
    dropped = [at("a cat", caption_dropout_rate=0.5, seed=seed) == "" for seed in range(200)]
    assert 60 < sum(dropped) < 140
    assert [at("a cat", epoch=epoch, caption_dropout_every_n_epochs=2) for epoch in range(4)] == ["a cat", "", "a cat", ""]
    assert {at("a, b, c", caption_tag_dropout_rate=0.5, seed=seed) for seed in range(60)} > {"a, b, c", "a", "b, c"}


def test_wildcards_are_replaced_by_choice():
    seen = {at("a {red|blue} cat\na dog", enable_wildcard=True, seed=seed) for seed in range(40)}
    assert seen == {"a red cat", "a blue cat", "a dog"}


def test_wildcards_of_prefix_and_suffix_count_and_doubled_braces_stay():
    seen = {at("cat", enable_wildcard=True, caption_prefix="{a|one}", caption_suffix="{{x|y}}", seed=seed) for seed in range(20)}
    assert seen == {"a cat {x|y}", "one cat {x|y}"}
    assert at("a {red|blue} cat {{b}}") == "a {red|blue} cat {{b}}"  # without enable_wildcard braces are text


def test_tags_are_joined_by_commas_for_any_separator():
    assert at("sks; a;b ", caption_separator=";", shuffle_caption=True, keep_tokens=3) == "sks, a, b"


def test_secondary_separator_holds_tags_together():
    seen = {at("x;;;y, z", secondary_separator=";;;", caption_tag_dropout_rate=0.5, seed=seed) for seed in range(40)}
    assert seen == {"x,y, z", "x,y", "z", ""}


@pytest.mark.parametrize(("length", "total"), [(10, 1), (0.1, 100)])
def test_warm_up_adds_tags_step_by_step_but_keeps_first(length, total):
    """kohya: floor(step * (tags - least) / length) + least, of the tags that are not kept."""
    counts = [
        at("k, a, b, c, d, e", token_warmup_step=length, token_warmup_min=1, keep_tokens=1, step=step, total_steps=total).count(",")
        for step in range(12)
    ]
    assert counts == [math.floor(step * 4 / 10) + 1 for step in range(10)] + [5, 5]
    assert at("k, a, b", token_warmup_step=10, token_warmup_min=1) == "k"


def test_all_lines_of_caption_are_trained(tmp_path):
    """Kohya's trainer silently drops all lines but the first."""
    (tmp_path / "a.txt").write_text("zqx cat\n\n sitting on a chair \n")
    subset = Subset(image_dir="x", caption_extension=".txt")
    assert read_caption(tmp_path / "a.txt", subset) == "zqx cat sitting on a chair"
    assert read_caption(tmp_path / "a.txt", replace(subset, enable_wildcard=True)) == "zqx cat\nsitting on a chair"


def test_caption_files_are_read(tmp_path):
    subset = Subset(image_dir="x", caption_extension=".txt", class_tokens="sks cat")
    file = tmp_path / "a.b.txt"
    assert read_caption(None, subset) == "sks cat"
    file.write_text("\ufeff first line \n", encoding="utf-8")
    assert read_caption(file, subset) == "first line"
    file.write_text(" \n")
    assert read_caption(file, subset) == "sks cat"
    file.write_text("café", encoding="utf-16")
    assert read_caption(file, subset) == "café"
    file.write_bytes("café".encode("cp1252"))
    with pytest.raises(TrainerError, match=r"a\.b\.txt is not UTF-8"):
        read_caption(file, subset)
