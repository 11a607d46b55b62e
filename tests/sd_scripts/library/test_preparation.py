"""What the training decides from its files before it begins; the training itself is driven in integration/test_trainer.py."""

from argparse import Namespace
from dataclasses import replace

import pytest

from library.errors import TrainerError
from library.preparation import t5_length
from tests.support.tiny_models import PARAMS, make_flux, save


@pytest.mark.parametrize(("is_dev", "given", "expected"), [(True, None, 512), (False, None, 256), (False, 300, 300), (True, 100, 100)])
def test_captions_are_as_long_as_the_model_was_made_with(is_dev, given, expected, tmp_path):
    save(make_flux(replace(PARAMS, guidance_embed=is_dev)), tmp_path / "flux.safetensors")
    args = Namespace(pretrained_model_name_or_path=str(tmp_path / "flux.safetensors"), t5xxl_max_token_length=given)
    assert t5_length(args) == expected


def test_a_model_that_is_none_is_refused_before_anything_is_encoded(tmp_path):
    (tmp_path / "flux.safetensors").write_text("no model")
    with pytest.raises(TrainerError, match=r"flux\.safetensors"):
        t5_length(Namespace(pretrained_model_name_or_path=str(tmp_path / "flux.safetensors"), t5xxl_max_token_length=None))
