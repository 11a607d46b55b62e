"""A LoRA's metadata beyond the figures: the author's texts and an image, as kohya writes them."""

import base64

import pytest

from library.errors import TrainerError
from library.models.family import ModelSpec
from library.models.flux1.family import SPECS
from library.training.metadata import fixed_metadata, thumbnail
from tests.support.trainer_config import trainer_config


def test_thumbnail_is_data_url(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"image")
    assert thumbnail(str(tmp_path / "cat.jpg")) == "data:image/jpeg;base64," + base64.b64encode(b"image").decode()
    assert thumbnail("data:image/png;base64,AAAA") == "data:image/png;base64,AAAA"
    assert thumbnail(None) is None
    with pytest.raises(TrainerError, match=r"none\.png"):
        thumbnail(str(tmp_path / "none.png"))


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    paths = {"pretrained_model_name_or_path": tmp_path / "flux", "ae": tmp_path / "ae"}
    for path in paths.values():
        path.write_bytes(b"x" * 5000)
    return paths


@pytest.mark.parametrize("version", ["dev", "schnell"])
def test_model_name_in_metadata_matches_kohya_and_modelspec(version, files):
    found = fixed_metadata(trainer_config(**files), SPECS[version], {"resolution": (64, 96)})
    assert (found["ss_base_model_version"], found["ss_model_type"]) == ("flux1", version)
    assert found["modelspec.architecture"] == f"flux-1-{version}/lora"
    assert found["modelspec.implementation"] == "https://github.com/black-forest-labs/flux"


def test_another_familys_model_is_reported_by_its_own_data(files):
    spec = ModelSpec(base_model_version="tiny", model_type="one", architecture="tiny-one", implementation="here")
    found = fixed_metadata(trainer_config(**files), spec, {"resolution": (64, 96)})
    assert (found["ss_base_model_version"], found["ss_model_type"]) == ("tiny", "one")
    assert (found["modelspec.architecture"], found["modelspec.implementation"]) == ("tiny-one/lora", "here")
    assert "flux1" not in found.values()


def test_author_metadata_is_written(files):
    words = {"title": "Cat", "author": "me", "preprocessor": "none", "is_negative_embedding": "false", "thumbnail": "data:x"}
    flags = {f"metadata_{name}": value for name, value in words.items()}
    config = trainer_config(**files, use_lion_optimizer=True, **flags)
    found = fixed_metadata(config, SPECS["dev"], {"resolution": (64, 96)})
    assert {name: found[f"modelspec.{name}"] for name in words} == words
    assert (found["modelspec.resolution"], found["ss_optimizer"]) == ("64x96", "Lion")
