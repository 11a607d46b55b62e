"""Captions are counted by the model's own tokenizer, as the trainer counts them."""

import os
import shutil
from pathlib import Path

import pytest

from fluxgym.contract.model_kinds import T5_LENGTHS
from fluxgym.models.caption_tokens import token_limit, too_long
from fluxgym.models.catalog import CAPTION_LENGTH, FoundFiles, caption_tokenizer
from library.models.flux1.text_encoders import load_tokenizers
from tests.support.source_tree import ROOT

POCKET = ROOT / "models" / "pocket"


@pytest.fixture(name="files")
def fixture_files():
    paths = {
        name: POCKET / f"{file}.safetensors"
        for name, file in (("transformer", "flux"), ("clip_l", "clip_l"), ("t5xxl", "t5xxl"), ("ae", "ae"))
    }
    return FoundFiles(**paths)


def test_limit_is_trainers_for_pocket_model(files):
    assert token_limit(files, {}) == load_tokenizers(str(files.clip_l), str(files.t5xxl), None, T5_LENGTHS["dev"]).t5_length
    assert token_limit(files, {CAPTION_LENGTH: 20}) == 20


def test_tokens_are_counted_as_trainer_counts_them(files):
    text = "a photo of a cat, sitting on a chair, " * 6
    tokenizer = load_tokenizers(str(files.clip_l), str(files.t5xxl), None, T5_LENGTHS["dev"]).t5_tokenizer
    assert too_long({"a.png": text, "b.png": "a cat"}, files, 48) == {"a.png": len(tokenizer(text)["input_ids"])}


def test_without_tokenizer_texts_are_counted(files, tmp_path):
    other = FoundFiles(transformer=files.transformer, clip_l=files.clip_l, t5xxl=tmp_path / "t5.safetensors", ae=files.ae)
    assert too_long({"a.png": "cat " * 900, "b.png": "cat " * 400}, other, 512) == {"a.png": 901}
    assert token_limit(other, {}) == T5_LENGTHS["dev"]
    assert Path(other.t5xxl).parent == tmp_path


def test_tokenizer_that_was_replaced_counts_again(files, tmp_path):
    folder = tmp_path / caption_tokenizer(files).name
    folder.mkdir()
    other = FoundFiles(transformer=files.transformer, clip_l=files.clip_l, t5xxl=tmp_path / "t5.safetensors", ae=files.ae)
    text = {"a.png": "photographs " * 60}
    (folder / "tokenizer.json").write_text("{}")
    assert too_long(text, other, 48) == {"a.png": 61}  # words, as it cannot be read
    shutil.copy(caption_tokenizer(files) / "tokenizer.json", folder)
    assert too_long(text, other, 48) == too_long(text, files, 48) != {"a.png": 61}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_named_pipe_as_tokenizer_is_not_waited_for(files, tmp_path, name):
    shutil.copytree(caption_tokenizer(files), tmp_path / caption_tokenizer(files).name)
    pipe = tmp_path / caption_tokenizer(files).name / name
    pipe.unlink()
    os.mkfifo(pipe)
    other = FoundFiles(transformer=files.transformer, clip_l=files.clip_l, t5xxl=tmp_path / "t5.safetensors", ae=files.ae)
    num_tokens = {"tokenizer.json": 901, "tokenizer_config.json": 902}[name]  # words if the tokenizer cannot be read
    assert too_long({"a.png": "cat " * 900}, other, token_limit(other, {})) == {"a.png": num_tokens}
