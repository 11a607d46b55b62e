"""Batches: counts as kohya's, the same images in the same order for any number of workers; unusual images are handled or reported."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from library.errors import TrainerError
from tests.support.photos import write_cats
from tests.support.trainer_config import trainer_config
from tests.support.training_data import CACHED, data_of, fill, make_data, shared_models


@pytest.fixture(scope="module", name="models")
def fixture_models():
    return shared_models()


@pytest.fixture(name="cats")
def fixture_cats(tmp_path):
    return write_cats(tmp_path / "cats", count=3)


@pytest.fixture(name="make")
def fixture_make(models, cats, tmp_path):
    def make(subsets=None, **changes):
        subsets = subsets or [{"image_dir": str(cats), "num_repeats": 2, "caption_extension": ".txt"}]
        return make_data(models, tmp_path / "d.toml", subsets, **changes)

    return make


def test_dataset_counts_images_and_batches(make):
    data = make()
    assert (data.num_train_images, data.num_reg_images, data.num_batches_per_epoch) == (6, 0, 3)
    batches = list(data.epoch(0))
    assert [len(batch.captions) for batch in batches] == [2, 2, 2]
    assert batches[0].pixels.shape == (2, 3, 64, 64)
    assert batches[0].masks is None
    captions = [caption for batch in batches for caption in batch.captions]
    assert sorted(captions) == sorted([f"sks cat, crop {index}" for index in range(3)] * 2)


def test_order_depends_on_seed_and_epoch(make):
    def order(data, epoch, start=0):
        return [batch.captions for batch in data.epoch(epoch, start)]

    assert order(make(), 0) == order(make(), 0)
    assert order(make(), 3, 1) == order(make(), 3)[1:]
    assert len({str(order(make(), epoch)) for epoch in range(8)}) > 3
    assert [order(make(seed=2), epoch) for epoch in range(3)] != [order(make(), epoch) for epoch in range(3)]


EVERYTHING = {
    "num_repeats": 4, "caption_extension": ".txt", "flip_aug": True, "random_crop": True, "color_aug": True, "shuffle_caption": True,
    "caption_tag_dropout_rate": 0.3, "caption_dropout_rate": 0.2, "token_warmup_step": 6, "keep_tokens": 1, "alpha_mask": True,
}  # fmt: skip


@pytest.mark.parametrize("accumulation", [1, 3])
def test_any_number_of_workers_gives_same_bits(accumulation, make, cats):
    def run(workers, start=0):
        changes = {"max_data_loader_n_workers": workers, "gradient_accumulation_steps": accumulation}
        data = make([EVERYTHING | {"image_dir": str(cats)}], dataset={"resolution": [48, 64]}, **changes)
        return [batch for epoch in (0, 1) for batch in data.epoch(epoch, start)]

    alone = run(0)
    for others in (run(1), run(4)):
        assert [batch.captions for batch in others] == [batch.captions for batch in alone]
        assert all(torch.equal(a.pixels, b.pixels) and torch.equal(a.masks, b.masks) for a, b in zip(alone, others, strict=True))
    later = run(4, start=3)  # as a resumed training takes it up
    assert [batch.captions for batch in later[:3]] == [batch.captions for batch in alone[3:6]]
    assert torch.equal(later[0].pixels, alone[3].pixels)
    assert len({batch.pixels.sum().item() for batch in alone}) == len(alone)


def test_warm_up_counts_optimizer_steps(make, cats):
    """Batches of two images, two batches per step: six batches of the epoch are three steps, the next epoch begins at the fourth."""
    subset = {"image_dir": str(cats), "num_repeats": 4, "caption_extension": ".txt", "token_warmup_step": 4}
    for index in range(3):
        (cats / f"cat {index}.txt").write_text("a, b, c, d, e")
    data = make([subset], gradient_accumulation_steps=2)
    seen = [batch.captions[0].count(",") + 1 for epoch in (0, 1) for batch in data.epoch(epoch)]
    assert seen == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]


@pytest.mark.parametrize(("num_reg", "expected"), [(2, [3, 3]), (4, [2, 2, 1, 1]), (9, [1] * 6 + [0] * 3)])
def test_regularization_images_are_as_many_as_training_images(num_reg, expected, make, cats, tmp_path):
    write_cats(tmp_path / "reg", count=num_reg)
    data = make(
        [{"image_dir": str(cats), "num_repeats": 2}, {"image_dir": str(tmp_path / "reg"), "is_reg": True}],
        prior_loss_weight=0.5,
    )
    counts = [training_image.num_repeats for training_image in data.images if training_image.subset.is_reg]
    assert counts == [count for count in expected if count]
    weights = torch.cat([batch.loss_weights for batch in data.epoch(0)])
    assert sorted(weights.tolist()) == [0.5] * 6 + [1.0] * 6


def test_data_sets_of_their_own_sizes_and_repeats_never_share_batch(models, cats, tmp_path):
    write_cats(tmp_path / "more", count=2)
    tables = [
        f'[[datasets]]\nresolution = {side}\nbatch_size = {size}\n[[datasets.subsets]]\nimage_dir = "{tmp_path / folder}"\nnum_repeats = {n}\n'
        for side, size, folder, n in ((64, 2, "cats", 1), (64, 3, "more", 5), (96, 1, "cats", 2))
    ]
    (tmp_path / "several.toml").write_text("\n".join(tables))
    data = data_of(trainer_config(dataset_config=tmp_path / "several.toml"))
    assert data.num_train_images == 3 + 10 + 6
    sizes = sorted((batch.pixels.shape[-1], len(batch.captions)) for batch in data.epoch(0))
    assert sizes == [(64, 1), (64, 1), (64, 2), (64, 3), (64, 3), (64, 3), *[(96, 1)] * 6]


# -- masks -----------------------------------------------------------------------------------------------------------------------


def with_alpha(cats):
    """Make the left half of the first cat transparent, and the upper half of the second; the third has no alpha."""
    for index, box in enumerate([(0, 0, 48, 96), (0, 0, 96, 48)]):
        image = Image.open(cats / f"cat {index}.png").convert("RGBA")
        image.paste((9, 9, 9, 0), box)
        image.save(cats / f"cat {index}.png")


def by_caption(data, epochs=1):
    return {
        (caption, None if batch.masks is None else tuple(batch.masks[row].flatten().tolist()))
        for epoch in range(epochs)
        for batch in data.epoch(epoch)
        for row, caption in enumerate(batch.captions)
    }


@pytest.mark.parametrize("flags", [{}, CACHED, CACHED | {"cache_latents_to_disk": False}], ids=["live", "disk", "memory"])
def test_alpha_channels_are_masks_cached_or_not(flags, make, cats):
    with_alpha(cats)
    data = make([{"image_dir": str(cats), "caption_extension": ".txt", "alpha_mask": True, "num_repeats": 2, "flip_aug": True}], **flags)
    if flags:
        fill(data)
    left, upper, whole = np.ones((8, 8)), np.ones((8, 8)), np.ones((8, 8))
    left[:, :4] = upper[:4] = 0
    expected = {("sks cat, crop 0", tuple(mask.flatten())) for mask in (left, left[:, ::-1])}
    expected |= {("sks cat, crop 1", tuple(upper.flatten())), ("sks cat, crop 2", tuple(whole.flatten()))}
    assert by_caption(data, epochs=6) == expected


def test_masks_in_conditioning_folder_are_used(make, cats, tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    for index in range(3):
        mask = np.zeros((96, 96), np.uint8)
        mask[:, 48:] = 127 * index
        Image.fromarray(mask).save(tmp_path / "masks" / f"cat {index}.png")
    subset = {"image_dir": str(cats), "caption_extension": ".txt", "conditioning_data_dir": str(tmp_path / "masks")}
    data = make([subset], masked_loss=True)
    for caption, mask in by_caption(data):
        mask = np.reshape(mask, (8, 8))
        assert (mask[:, :4] == 0).all()
        assert mask[:, 4:] == pytest.approx(127 * int(caption[-1]) / 255)
    (tmp_path / "masks" / "cat 1.png").rename(tmp_path / "masks" / "kat 1.png")
    (cats / "cat 1.png").rename(cats / "kat 1.png")
    Image.new("L", (96, 96)).save(tmp_path / "masks" / "dog.png")
    make([subset], masked_loss=True)
    assert "no image belongs to the mask dog.png (1 in all)" in capsys.readouterr().err
    (tmp_path / "masks" / "kat 1.png").unlink()
    with pytest.raises(TrainerError, match=r"kat 1\.png has no mask"):
        make([subset], masked_loss=True)


def test_masked_loss_without_mask_is_reported(make, capsys):
    make(masked_loss=True)
    assert "--masked_loss has no effect" in capsys.readouterr().err


# -- odd images ----------------------------------------------------------------------------------------------------------------


def turned(path, photo):
    exif = Image.Exif()
    exif[0x0112] = 8
    photo.transpose(Image.Transpose.ROTATE_270).save(path.with_suffix(".jpg"), exif=exif, quality=100, subsampling=0)


def sixteen_bit(path, photo):
    Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257).save(path.with_suffix(".png"))


def palette(path, photo):
    photo.quantize(128).save(path.with_suffix(".png"), transparency=0)


def animated(path, photo):
    photo.save(path.with_suffix(".webp"), save_all=True, append_images=[Image.new("RGB", photo.size)], lossless=True)


ODD = {
    "turned": turned,
    "cmyk": lambda path, photo: photo.convert("CMYK").save(path.with_suffix(".jpg"), quality=100),
    "16-bit": sixteen_bit,
    "alpha": lambda path, photo: photo.convert("RGBA").save(path.with_suffix(".png")),
    "palette": palette,
    "animated": animated,
    "grey": lambda path, photo: photo.convert("L").save(path.with_suffix(".tif")),
    "猫 né": lambda path, photo: photo.save(path.with_suffix(".PNG")),
}


@pytest.mark.parametrize("kind", ODD)
def test_image_of_unusual_mode_is_trained_as_displayed(kind, make, cats, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    photo = Image.open(cats / "cat 0.png").convert("RGB")
    ODD[kind](folder / kind, photo)
    (folder / f"{kind}.txt").write_text("odd one")
    (batch,) = make([{"image_dir": str(folder), "caption_extension": ".txt"}]).epoch(0)
    assert batch.captions == ["odd one"]
    seen = (batch.pixels[0].mean(0).numpy() + 1) * 127.5
    looks = np.asarray(photo.convert("L").resize((64, 64), Image.Resampling.BOX), float)
    assert np.corrcoef(seen.ravel(), looks.ravel())[0, 1] > 0.9


def cut_short(path, photo):
    photo.save(path)
    path.write_bytes(path.read_bytes()[:800])


def huge(path, photo):
    """Say 20,000 x 20,000 in the header of a small PNG."""
    photo.save(path)
    whole = bytearray(path.read_bytes())
    whole[16:24] = struct.pack(">II", 20_000, 20_000)
    whole[29:33] = struct.pack(">I", zlib.crc32(whole[12:29]))
    path.write_bytes(whole)


WRONG = {
    "truncated": (cut_short, "cannot be read as an image"),
    "empty": (lambda path, photo: path.write_bytes(b""), "is empty; copy it again"),
    "text": (lambda path, photo: path.write_text("I am no image"), "is not an image"),
    "huge": (huge, "has 20000x20000 pixels, more than 108 million"),
    "dangling": (lambda path, photo: path.symlink_to(path.with_name("gone")), "is missing"),
}


@pytest.mark.parametrize("flags", [{}, CACHED], ids=["live", "cached"])
@pytest.mark.parametrize("kind", WRONG)
def test_image_that_cannot_be_read_is_reported(kind, flags, make, cats):
    write, complaint = WRONG[kind]
    write(cats / "wrong.png", Image.open(cats / "cat 0.png"))
    with pytest.raises(TrainerError, match=rf"wrong\.png.*{complaint}") as caught:
        data = make(**flags)
        if flags:
            fill(data)
        list(data.epoch(0))
    assert "\n" not in str(caught.value)


def test_entries_that_are_not_files_are_left_out_and_duplicates_share_caption(make, cats, capsys):
    (cats / "folder.png").mkdir()
    os.mkfifo(cats / "pipe.png")
    Image.open(cats / "cat 0.png").convert("RGB").save(cats / "cat 0.jpg")
    data = make()
    assert sorted(training_image.caption for training_image in data.images) == [f"sks cat, crop {index}" for index in (0, 0, 1, 2)]
    printed = capsys.readouterr().err
    assert all(words in printed for words in ("folder.png is not a file", "pipe.png is not a file", "cat 0.png share one caption"))


def test_caption_that_is_not_utf8_is_reported(make, cats):
    (cats / "cat 1.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(TrainerError, match=r"cat 1\.txt is not UTF-8"):
        make()


def test_empty_folder_beside_others_is_reported(make, cats, tmp_path, capsys):
    (tmp_path / "reg").mkdir()
    data = make([{"image_dir": str(cats)}, {"image_dir": str(tmp_path / "reg"), "is_reg": True}])
    assert data.num_reg_images == 0
    assert f"no images in {tmp_path / 'reg'}" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainerError, match=r"There are no images in .*empty; put"):
        make([{"image_dir": str(tmp_path / "empty")}])


@pytest.mark.parametrize(("start", "expected"), [(0, [(2, 2), (4, 2), (5, 1)]), (2, [(4, 2), (5, 1)])])
def test_steps_accumulate_batches_and_end_with_epoch(start, expected, tmp_path):
    write_cats(tmp_path / "cats", count=5)
    subset = {"image_dir": str(tmp_path / "cats"), "caption_extension": ".txt"}
    data = make_data(shared_models(), tmp_path / "d.toml", [subset], dataset={"batch_size": 1}, gradient_accumulation_steps=2)
    assert data.steps_per_epoch == 3
    found = list(data.steps(1, start))
    assert [(next_batch, len(batches)) for next_batch, batches in found] == expected
    batches = [batch for _, micro_batches in found for batch in micro_batches]
    assert [batch.captions for batch in batches] == [batch.captions for batch in data.epoch(1, start)]
