"""Batches: counts as kohya's, order from the seed, caches that know their content."""

from argparse import Namespace

import pytest
import tomli_w
import torch
from PIL import Image

from library.arguments import build_parser
from library.autoencoder import load_autoencoder
from library.caches import FOLDER
from library.dataset import build_dataset
from library.errors import TrainerError
from library.text_encoders import load_text_encoders
from tests.support.photos import write_cats
from tests.support.tiny_models import write_tiny_models

DEVICE = torch.device("cpu")


@pytest.fixture(scope="module", name="models")
def fixture_models(tmp_path_factory):
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(name="make")
def fixture_make(models, tmp_path):
    cats = write_cats(tmp_path / "cats", count=3)

    def make(subsets=None, batch_size=2, **changes):
        subsets = subsets or [{"image_dir": str(cats), "num_repeats": 2, "caption_extension": ".txt"}]
        (tmp_path / "d.toml").write_text(tomli_w.dumps({"datasets": [{"resolution": 64, "batch_size": batch_size, "subsets": subsets}]}))
        names = {"ae": "ae.safetensors", "clip_l": "clip_l.safetensors", "t5xxl": "t5xxl.safetensors"}
        files = {flag: str(models / name) for flag, name in names.items()}
        defaults = vars(build_parser().parse_args([])) | {"seed": 1, "dataset_config": str(tmp_path / "d.toml")} | files
        return build_dataset(Namespace(**(defaults | changes)))

    return make


CACHED = {
    "cache_latents": True,
    "cache_latents_to_disk": True,
    "cache_text_encoder_outputs": True,
    "cache_text_encoder_outputs_to_disk": True,
}


def fill(data):
    args, done = data.args, []
    data.cache_latents(load_autoencoder(args.ae, dtype=torch.float32, device="cpu"), lambda *at: done.append(at))
    encoders = load_text_encoders(
        args.clip_l, args.t5xxl, cache_dir=None, t5_max_length=512, with_mask=False, dtype=torch.float32, device=DEVICE
    )
    data.cache_text(None, encoders, lambda *at: done.append(at))
    return done


def cache_files(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / FOLDER).glob("*.safetensors")}


def test_counts_and_batches(make):
    data = make()
    assert (data.num_train_images, data.num_reg_images, data.num_batches_per_epoch) == (6, 0, 3)
    batches = list(data.epoch(0))
    assert [len(batch.captions) for batch in batches] == [2, 2, 2]
    assert batches[0].pixels.shape == (2, 3, 64, 64)
    captions = [caption for batch in batches for caption in batch.captions]
    assert sorted(captions) == sorted([f"sks cat, crop {index}" for index in range(3)] * 2)


def test_order_belongs_to_seed_and_epoch(make):
    def order(data, epoch, start=0):
        return [batch.captions for batch in data.epoch(epoch, start)]

    assert order(make(), 0) == order(make(), 0)
    assert order(make(), 3, 1) == order(make(), 3)[1:]
    assert len({str(order(make(), epoch)) for epoch in range(8)}) > 3
    assert order(make(seed=2), 0) != order(make(), 0) or order(make(seed=2), 1) != order(make(), 1)


@pytest.mark.parametrize(("num_reg", "expected"), [(2, [3, 3]), (4, [2, 2, 1, 1]), (9, [1] * 6 + [0] * 3)])
def test_regularisation_pictures_are_as_many_as_training_pictures(num_reg, expected, make, tmp_path):
    write_cats(tmp_path / "reg", count=num_reg)
    data = make(
        [{"image_dir": str(tmp_path / "cats"), "num_repeats": 2}, {"image_dir": str(tmp_path / "reg"), "is_reg": True}],
        prior_loss_weight=0.5,
    )
    counts = [picture.num_repeats for picture in data.pictures if picture.subset.is_reg]
    assert counts == [count for count in expected if count]
    weights = torch.cat([batch.loss_weights for batch in data.epoch(0)])
    assert sorted(weights.tolist()) == [0.5] * 6 + [1.0] * 6


def test_caches_are_used_and_give_what_the_encoders_give(make, tmp_path):
    data = make(**CACHED)
    fill(data)
    before = cache_files(tmp_path / "cats")
    assert len(before) == 6
    again = make(**CACHED)
    done = fill(again)
    assert cache_files(tmp_path / "cats") == before
    assert done == [(1, 3), (2, 3), (3, 3)] * 2
    batch, live = next(again.epoch(0)), next(make().epoch(0))
    vae = load_autoencoder(data.args.ae, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        assert torch.allclose(batch.latents, vae.encode(live.pixels), atol=1e-5)
    assert batch.captions == live.captions
    assert batch.t5_out.shape == (2, 48, 32)
    assert batch.clip_ids.shape == (2, 77)


def test_only_what_changed_is_made_again(make, tmp_path):
    fill(make(**CACHED))
    before = cache_files(tmp_path / "cats")
    (tmp_path / "cats" / "cat 0.txt").write_text("sks cat, another caption")
    fill(make(**CACHED))
    assert len(cache_files(tmp_path / "cats").keys() - before) == 1
    before = cache_files(tmp_path / "cats")
    Image.new("RGB", (96, 96), "green").save(tmp_path / "cats" / "cat 1.png")
    fill(make(**CACHED))
    assert len(cache_files(tmp_path / "cats").keys() - before) == 1


def test_a_damaged_cache_file_is_made_again(make, tmp_path):
    fill(make(**CACHED))
    for path in (tmp_path / "cats" / FOLDER).glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    data = make(**CACHED)
    fill(data)
    assert next(data.epoch(0)).latents.isfinite().all()
    assert all(path.stat().st_size > 50 for path in (tmp_path / "cats" / FOLDER).glob("*.safetensors"))


def test_kohyas_npz_caches_are_left_alone(make, tmp_path):
    (tmp_path / "cats" / "cat 0_0064x0064_flux.npz").write_bytes(b"torn")
    fill(make(**CACHED))
    assert (tmp_path / "cats" / "cat 0_0064x0064_flux.npz").read_bytes() == b"torn"


def test_mirrored_pictures_are_cached_too(make, tmp_path):
    data = make([{"image_dir": str(tmp_path / "cats"), "num_repeats": 8, "flip_aug": True}], **CACHED)
    fill(data)
    different = {batch.latents[row].sum().item() for batch in data.epoch(0) for row in range(len(batch.captions))}
    assert len(different) == 6


def test_an_empty_folder_beside_others_is_told(make, tmp_path, capsys):
    (tmp_path / "reg").mkdir()
    data = make([{"image_dir": str(tmp_path / "cats")}, {"image_dir": str(tmp_path / "reg"), "is_reg": True}])
    assert data.num_reg_images == 0
    assert f"no pictures in {tmp_path / 'reg'}" in capsys.readouterr().err


def test_what_is_missing_is_named(make, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainerError, match="empty"):
        make([{"image_dir": str(tmp_path / "empty")}])
    (tmp_path / "cats" / "text.png").write_text("not a picture")
    with pytest.raises(TrainerError, match=r"text\.png is not a picture"):
        make()
