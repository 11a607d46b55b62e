"""Captions: kohya's options, repeatable by their generator."""

import pytest
import torch

from library.captions import caption_at, read_caption
from library.dataset_config import Subset
from library.errors import TrainerError


def at(caption, epoch=0, seed=0, **options):
    return caption_at(caption, Subset(image_dir="x", **options), epoch, torch.Generator().manual_seed(seed))


def test_plain_and_with_prefix_and_suffix():
    assert at("a cat, sitting") == "a cat, sitting"
    assert at("a cat", caption_prefix="photo,", caption_suffix="on a mat") == "photo, a cat on a mat"


def test_shuffling_keeps_the_first_tokens_and_all_tags():
    seen = {at("sks cat, a, b, c, d", shuffle_caption=True, keep_tokens=1, seed=seed) for seed in range(20)}
    assert len(seen) > 5
    assert all(caption.startswith("sks cat, ") and sorted(caption.split(", ")[1:]) == ["a", "b", "c", "d"] for caption in seen)
    assert at("x, y, z", shuffle_caption=True, seed=3) == at("x, y, z", shuffle_caption=True, seed=3)


def test_keep_tokens_separator():
    assert at("one, two ||| a ||| last", shuffle_caption=True, keep_tokens_separator="|||") == "one, two, a, last"


def test_dropout():
    dropped = [at("a cat", caption_dropout_rate=0.5, seed=seed) == "" for seed in range(200)]
    assert 60 < sum(dropped) < 140
    assert [at("a cat", epoch=epoch, caption_dropout_every_n_epochs=2) for epoch in range(4)] == ["a cat", "", "a cat", ""]
    assert {at("a, b, c", caption_tag_dropout_rate=0.5, seed=seed) for seed in range(60)} > {"a, b, c", "a", "b, c"}


def test_wildcards():
    seen = {at("a {red|blue} cat\na dog", enable_wildcard=True, seed=seed) for seed in range(40)}
    assert seen == {"a red cat", "a blue cat", "a dog"}


def test_files(tmp_path):
    subset = Subset(image_dir="x", caption_extension=".txt", class_tokens="sks cat")
    picture = tmp_path / "a.b.png"
    assert read_caption(picture, subset) == "sks cat"
    (tmp_path / "a.b.txt").write_text("\ufeff first line \nsecond\n", encoding="utf-8")
    assert read_caption(picture, subset) == "first line"
    (tmp_path / "a.b.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(TrainerError, match=r"a\.b\.txt is not UTF-8"):
        read_caption(picture, subset)
