"""What the training decides from its files before it begins; the training itself is driven in integration/test_trainer.py."""

import gc

import pytest
from transformers import T5EncoderModel

from library.cli.parse import parse
from library.models.flux1.transformer import Flux
from library.process import StopFlag
from library.training.base_model import BaseModel
from library.training.reporting import ProgressLog
from library.training.trainer import Training
from tests.support.photos import write_cats
from tests.support.tiny_models import model_flags, write_tiny_models


class TransformerWanted(Exception):
    """Ends a training at the moment when the transformer would be loaded."""


def large_models():
    return [each for each in gc.get_objects() if type(each) in (T5EncoderModel, Flux)]


@pytest.mark.parametrize("train_clip", [True, False])
def test_t5_is_gone_before_the_transformer_comes(train_clip, tmp_path, monkeypatch):
    """Their weights are the two largest things of a training: 9 and 24 GB that must never be in memory together."""
    write_tiny_models(tmp_path / "models")
    write_cats(tmp_path / "pictures" / "1_cat", count=1, size=64)
    (tmp_path / "prompts.txt").write_text("a cat --w 64 --h 64\n")
    seen, others = [], large_models()  # another test's may be alive

    def load_transformer(*_):
        gc.collect()
        seen.extend(each for each in large_models() if not any(each is other for other in others))
        raise TransformerWanted

    monkeypatch.setattr(BaseModel, "load_transformer", load_transformer)
    args = parse([
        *model_flags(tmp_path / "models"), "--train_data_dir", str(tmp_path / "pictures"), "--output_dir", str(tmp_path / "out"),
        "--resolution", "64", "--cache_text_encoder_outputs", "--cache_latents", "--sample_prompts", str(tmp_path / "prompts.txt"),
        "--sample_every_n_steps", "1", "--max_train_steps", "1", "--seed", "1", *([] if train_clip else ["--network_train_unet_only"]),
    ])  # fmt: skip
    with pytest.raises(TransformerWanted):
        Training(args, ProgressLog(None), StopFlag()).run()
    assert seen == []
