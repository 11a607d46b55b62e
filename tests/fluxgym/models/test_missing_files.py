"""Missing model files are listed with path, size and source."""

import pytest

from fluxgym.errors import ModelError
from fluxgym.models.catalog import find_files, list_models
from fluxgym.models.missing_files import published_files, size_words, tokenizers
from tests.support.small_installation import write_safetensors


def lacks(model, models):
    """Return the error of a model that is not complete."""
    with pytest.raises(ModelError) as caught:
        find_files(model, models)
    return caught.value


def test_empty_folder_lists_every_file_and_tokenizer_with_size_and_source(tmp_path):
    error = lacks("flux-dev", tmp_path)
    assert str(error).startswith("FLUX.1 dev lacks the FLUX transformer, the VAE (ae), the CLIP-L text encoder, ")
    assert str(error).endswith(f" and the T5 tokenizer (34.2 GB). Put them into {tmp_path}, or set --models to a folder that has them.")
    assert [(detail.text, detail.address) for detail in error.details[:2]] == [
        ("The FLUX transformer: unet/flux1-dev.sft, 23.8 GB, from cocktailpeanut/xulf-dev.", "https://huggingface.co/cocktailpeanut/xulf-dev"),
        ("The VAE (ae): vae/ae.sft, 335 MB, from cocktailpeanut/xulf-dev.", "https://huggingface.co/cocktailpeanut/xulf-dev"),
    ]  # fmt: skip
    clip, t5 = error.details[4:]
    assert "tokenizer.json, " in clip.text
    assert " in clip/tokenizer_clip/, 3.7 MB, from openai/clip-vit-large-patch14." in clip.text
    assert "spiece.model, " in t5.text
    assert " in clip/tokenizer_t5/, 0.8 MB, from google/t5-v1_1-xxl." in t5.text
    assert len(error.details) == 6


def test_only_what_is_missing_is_listed(tmp_path):
    for path in ("unet/flux1-dev.sft", "vae/ae.safetensors", "clip/clip_l.safetensors", "clip/t5xxl_fp16.safetensors"):
        write_safetensors(tmp_path / path)
    (tmp_path / "clip" / "google_t5-v1_1-xxl").mkdir()
    error = lacks("flux-dev", tmp_path)
    assert str(error) == f"FLUX.1 dev lacks the CLIP-L tokenizer. Put it into {tmp_path}, or set --models to a folder that has it."
    (detail,) = error.details
    assert "clip/tokenizer_clip/" in detail.text


def test_gated_download_is_reported(tmp_path):
    transformer = lacks("flux-schnell", tmp_path).details[0]
    assert transformer.text.endswith("from black-forest-labs/FLUX.1-schnell. Log in there and accept its terms first.")


def test_file_of_users_own_model_has_no_known_size_and_source(tmp_path):
    (tmp_path / "models.yaml").write_text(
        "mine: {title: Mine, files: {transformer: a/b.sft, ae: vae/ae.sft, clip_l: clip/clip_l.safetensors, t5xxl: /elsewhere/t5.sft}}"
    )
    error = lacks("mine", tmp_path)
    assert error.details[0].text == "The FLUX transformer: a/b.sft. Size and source are not known."
    assert error.details[0].address == ""
    assert "GB" not in str(error)
    assert " in /elsewhere/tokenizer_t5/" in error.details[-1].text


def test_every_built_in_model_that_is_published_is_in_table(tmp_path):
    expected = {paths[0] for model in list_models(tmp_path) if model.id != "pocket" for paths in model.files.values()}
    assert set(published_files()) == expected
    assert set(tokenizers()) == {"clip_l", "t5xxl"}


@pytest.mark.parametrize(("megabytes", "words"), [(23_800, "23.8 GB"), (335, "335 MB"), (0.8, "0.8 MB"), (999.4, "999 MB"), (1000, "1 GB")])
def test_size_texts_have_three_digits(megabytes, words):
    assert size_words(megabytes) == words
