"""A LoRA's metadata beyond the figures: the author's words and an image, as kohya writes them."""

import base64

import pytest

from library.errors import TrainerError
from library.training.metadata import fixed_metadata, thumbnail
from tests.support.trainer_config import trainer_config


def test_a_thumbnail_is_a_data_url(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"image")
    assert thumbnail(str(tmp_path / "cat.jpg")) == "data:image/jpeg;base64," + base64.b64encode(b"image").decode()
    assert thumbnail("data:image/png;base64,AAAA") == "data:image/png;base64,AAAA"
    assert thumbnail(None) is None
    with pytest.raises(TrainerError, match=r"none\.png"):
        thumbnail(str(tmp_path / "none.png"))


def test_the_authors_words_are_written(tmp_path):
    for name in ("flux", "ae"):
        (tmp_path / name).write_bytes(b"x" * 5000)
    words = {"title": "Cat", "author": "me", "preprocessor": "none", "is_negative_embedding": "false", "thumbnail": "data:x"}
    flags = {f"metadata_{name}": value for name, value in words.items()}
    config = trainer_config(pretrained_model_name_or_path=tmp_path / "flux", ae=tmp_path / "ae", use_lion_optimizer=True, **flags)
    found = fixed_metadata(config, is_dev=True, figures={"resolution": (64, 96)})
    assert {name: found[f"modelspec.{name}"] for name in words} == words
    assert (found["modelspec.resolution"], found["ss_optimizer"]) == ("64x96", "Lion")
