"""Caches through the real encoders: they equal the encoders' output, and only changed entries are encoded again."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from fluxgym.contract.files import CACHE_FOLDER
from library.models.flux1.vae import load_vae
from tests.support.photos import write_cats
from tests.support.tiny_models import save
from tests.support.training_data import CACHED, cache_files, fill, make_data, shared_models


@pytest.fixture(scope="module", name="models")
def fixture_models():
    return shared_models()


@pytest.fixture(name="cats")
def fixture_cats(tmp_path):
    return write_cats(tmp_path / "cats", count=3)


@pytest.fixture(name="make")
def fixture_make(models, cats, tmp_path):
    def make(subset=None, models=models, **changes):
        subset = {"image_dir": str(cats), "num_repeats": 2, "caption_extension": ".txt"} | (subset or {})
        return make_data(models, tmp_path / "d.toml", [subset], **changes)

    return make


def test_cached_features_equal_encoder_output(make, cats):
    data = make(**CACHED)
    fill(data)
    before = cache_files(cats)
    assert len(before) == 6
    again = make(**CACHED)
    assert fill(again) == [(1, 3), (2, 3), (3, 3)] * 2
    assert cache_files(cats) == before
    batch, live = next(again.epoch(0)), next(make().epoch(0))
    vae = load_vae(data.config.model.ae, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        assert torch.allclose(batch.latents, vae.encode(live.pixels), atol=1e-5)
    assert batch.captions == live.captions
    assert batch.text["t5_out"].shape == (2, 48, 32)
    assert batch.text["clip_ids"].shape == (2, 77)


def test_caches_for_memory_only_leave_no_file(make, cats):
    data = make(cache_latents=True, cache_text_encoder_outputs=True)
    fill(data)
    assert not (cats / CACHE_FOLDER).exists()
    kept = make(**CACHED)
    fill(kept)
    for mine, other in zip(data.epoch(0), kept.epoch(0), strict=True):
        assert torch.equal(mine.latents, other.latents)
        assert torch.equal(mine.text["t5_out"], other.text["t5_out"])


def other_image(cats):
    Image.new("RGB", (96, 96), "green").save(cats / "cat 1.png")


def other_mask(cats):
    Image.new("L", (96, 96), 77).save(cats.parent / "masks" / "cat 1.png")


@pytest.mark.parametrize(
    ("change", "subset", "dataset", "flags", "num_new"),
    [
        (lambda cats: (cats / "cat 0.txt").write_text("another"), {}, {}, {}, 1),
        (other_image, {}, {}, {}, 1),
        (None, {}, {"resolution": 96}, {}, 3),
        (None, {"flip_aug": True}, {}, {}, 3),
        (None, {"alpha_mask": True}, {}, {}, 3),
        (None, {"resize_interpolation": "bicubic"}, {}, {}, 3),
        (None, {"caption_prefix": "photo of"}, {}, {}, 3),
        (None, {"num_repeats": 5}, {"batch_size": 1}, {"seed": 9, "learning_rate": 1.0}, 0),
    ],
    ids=["caption", "image", "resolution", "flip", "alpha", "interpolation", "prefix", "nothing"],
)
def test_only_changed_entries_are_encoded_again(change, subset, dataset, flags, num_new, make, cats):
    fill(make(**CACHED))
    before = cache_files(cats)
    if change:
        change(cats)
    fill(make(subset, dataset=dataset, **CACHED, **flags))
    after = cache_files(cats)
    assert len(after.keys() - before) == num_new
    assert all(after[name] == before[name] for name in before)


def test_another_mask_encodes_one_image_again(make, cats, tmp_path):
    write_cats(tmp_path / "masks", count=3)
    subset = {"conditioning_data_dir": str(tmp_path / "masks")}
    fill(make(subset, masked_loss=True, **CACHED))
    before = cache_files(cats)
    assert len(before) == 6
    other_mask(cats)
    data = make(subset, masked_loss=True, **CACHED)
    fill(data)
    assert len(cache_files(cats).keys() - before) == 1
    masks = torch.cat([batch.masks for batch in data.epoch(0)])
    assert any((mask - 77 / 255).abs().max() < 1e-6 for mask in masks)


def test_another_encoder_encodes_all_images_again(make, cats, models, tmp_path):
    fill(make(**CACHED))
    before = cache_files(cats)
    others = Path(shutil.copytree(models, tmp_path / "others"))
    vae = load_vae(str(others / "ae.safetensors"), dtype=torch.float32, device="cpu")
    vae.encoder.conv_out.weight.data.mul_(1.5)
    save(vae, others / "ae.safetensors")
    fill(make(models=others, **CACHED))
    assert len(cache_files(cats).keys() - before) == 3


def test_damaged_cache_file_is_rebuilt(make, cats):
    fill(make(**CACHED))
    whole = {path: path.read_bytes() for path in (cats / CACHE_FOLDER).glob("*.safetensors")}
    for index, (path, content) in enumerate(whole.items()):
        path.write_bytes(content[:50] if index % 2 else content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    data = make(**CACHED)
    fill(data)
    assert next(data.epoch(0)).latents.isfinite().all()
    assert {path: path.read_bytes() for path in whole} == whole


def test_kohya_npz_caches_are_not_changed(make, cats):
    (cats / "cat 0_0064x0064_flux.npz").write_bytes(b"torn")
    fill(make(**CACHED))
    assert (cats / "cat 0_0064x0064_flux.npz").read_bytes() == b"torn"


def test_mirrored_images_are_cached_too(make):
    data = make({"num_repeats": 8, "flip_aug": True}, **CACHED)
    fill(data)
    different = {batch.latents[row].sum().item() for batch in data.epoch(0) for row in range(len(batch.captions))}
    assert len(different) == 6
