"""The checks before Start report what prevents it, and the number of steps."""

import os
import shutil
import zlib
from dataclasses import replace

import pytest

from fluxgym.app_settings import Settings
from fluxgym.config.vram_tiers import DESCRIPTIONS, TIERS
from fluxgym.errors import StorageError
from fluxgym.planning.plan import plan
from fluxgym.runs import files
from fluxgym.sessions.start import StartRequest, start
from fluxgym.ui.api.images import ImageRoutes, Selection
from library.data.images import upright_size
from library.errors import TrainerError
from tests.support.drafts import new_draft_id
from tests.support.fake_kohya import write_checkout
from tests.support.image_files import ENDLESS_POSTSCRIPT, HEIC, huge_png, png_chunk, png_with
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_world import small_world, state, write_one_tensor


@pytest.fixture(name="look")
def fixture_look(tmp_path):
    world, images = small_world(tmp_path), write_cats(tmp_path / "images")
    return lambda folder=images, **changes: plan(state(**changes), folder, world)


def test_all_green(look):
    found = look()
    assert found.can_start
    assert found.steps == 8


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lora_name": ""}, "lora_name"), ({"base_model": "flux-dev"}, "base_model"), ({"resolution": 100}, "resolution")],
)
def test_a_problem_that_prevents_start_is_reported_at_its_field(changes, field, look):
    found = look(**changes)
    assert not found.can_start
    assert field in [line.field for line in found.problems if line.level == "error"]


def test_no_images_yet(look, tmp_path):
    found = look(tmp_path / "none")
    assert [line.message for line in found.problems if line.level == "error"] == ["Add at least one image."]
    assert found.steps is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", ENDLESS_POSTSCRIPT, "a.png is a PostScript (EPS) file, not an image; save it as .png or .jpg."),
        ("a.png", huge_png(10_400, 10_400), "a.png has 10400x10400 pixels, more than 108 million; make it smaller."),
        ("a.HEIC", b"<!doctype html>", "a.HEIC is a web page, not an image; save it as .png or .jpg."),
    ],
)
def test_a_file_that_the_trainer_refuses_is_refused_with_the_same_words(name, content, words, look, tmp_path):
    write_cats(tmp_path / "odd", count=1)
    (tmp_path / "odd" / name).write_bytes(content)
    assert words in [problem.message for problem in look(tmp_path / "odd").errors]
    with pytest.raises(TrainerError) as error:
        upright_size(tmp_path / "odd" / name)
    assert str(error.value) == str(tmp_path / "odd" / words)


def test_png_with_long_texts_and_heic_are_counted_as_images(look, tmp_path):
    write_cats(tmp_path / "odd", count=1)
    text = png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 1_600_000))
    (tmp_path / "odd" / "a.png").write_bytes(png_with(text))
    (tmp_path / "odd" / "b.HEIC").write_bytes(HEIC)
    found = look(tmp_path / "odd")
    assert found.can_start
    assert found.images.count == 3


def test_images_that_a_kohya_checkout_leaves_out_prevent_start(tmp_path):
    images = write_cats(tmp_path / "images")
    (images / "x.heic").write_bytes(HEIC)
    world = replace(small_world(tmp_path), sd_scripts=write_checkout(tmp_path / "kohya"))
    (message,) = [problem.message for problem in plan(state(), images, world).errors if problem.field == "images"]
    assert (
        message == "x.heic: a kohya checkout, set by --sd-scripts, does not read this format; save as .png, or train without --sd-scripts."
    )


@pytest.mark.parametrize("tier", TIERS)
def test_the_options_of_a_tier_are_reported(tier, look):
    (line,) = [line for line in look(vram=tier).problems if line.field == "vram"]
    assert (line.level, line.message) == ("ok", f"GPU memory {tier}: {DESCRIPTIONS[tier]}.")


def test_the_kind_of_the_transformer_file_is_reported(look, tmp_path):
    write_one_tensor(tmp_path / "models" / "pocket" / "flux.safetensors", "double_blocks.0.img_attn.qkv.weight")
    (line,) = [line for line in look().problems if line.field == "base_model"]
    assert "the transformer is FLUX.1 schnell in" in line.message


def test_a_caption_without_words_counts_as_missing_in_the_checks_and_in_the_gallery(look, tmp_path):
    folder = write_cats(tmp_path / "outputs" / "cat" / "dataset", count=3)
    (folder / "cat 0.txt").write_text(" \n")
    (folder / "cat 1.txt").write_bytes(b"\xef\xbb\xbf\n")
    (folder / "alone.txt").write_text("of no image")
    lines = [line.message for line in look(folder, concept_sentence="").problems]
    assert "3 images, 2 without a caption." in lines
    assert any(text == "2 without a caption and no trigger word that stands for it." for text in lines)
    make_run(tmp_path / "outputs", "cat")
    gallery = ImageRoutes(Settings(outputs=tmp_path / "outputs", models=tmp_path, sd_scripts=tmp_path))
    assert gallery.images(new_draft_id(), Selection(), source="cat", offset=0, limit=9).captioned == 1


def test_the_answer_to_a_key_opens_no_caption_a_second_time(look, tmp_path, monkeypatch):
    folder = write_cats(tmp_path / "many", count=5)
    look(folder)
    opened, real = [], os.open
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, **how: pytest.fail(f"{self} was read again"))
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail(f"{self} was read again"))
    monkeypatch.setattr(os, "open", lambda path, *how, **more: opened.append(path) or real(path, *how, **more))
    assert look(folder).steps
    assert opened == []


@pytest.mark.parametrize("broken", ["names", "disk", "models"])
def test_whatever_the_disk_does_it_raises_nothing(look, tmp_path, monkeypatch, broken):
    def refuse(*how, **more):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    function = {"names": "os.scandir", "disk": "shutil.disk_usage", "models": "pathlib.Path.is_file"}[broken]
    monkeypatch.setattr(function, refuse)
    found = look()
    assert not found.can_start
    assert any("Permission denied" in line.message for line in found.problems)
    assert len(found.problems) == len({line.message for line in found.problems})


def test_the_page_demands_the_room_that_start_demands(look, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=files.MIN_FREE_BYTES - 1))
    (line,) = [line.message for line in look().problems if line.level == "error"]
    with pytest.raises(StorageError) as refused:
        start(StartRequest(state=state(), images=tmp_path / "images"), small_world(tmp_path / "again"))
    assert str(refused.value).replace("again/", "") == line
