"""The checks before Start report what prevents it, and the number of steps."""

import os
import shutil
import zlib
from dataclasses import replace

import pytest

from fluxgym.app_settings import Settings
from fluxgym.config.vram_tiers import TIERS
from fluxgym.errors import DatasetError, Level, StorageError
from fluxgym.planning import start_checks
from fluxgym.planning.plan import Planner, plan
from fluxgym.runs import disk_space
from fluxgym.sessions.start import StartRequest, start
from fluxgym.ui.api.images import ImageRoutes, Selection
from library.data.images import upright_size
from library.errors import TrainerError
from tests.support.drafts import new_draft_id
from tests.support.fake_kohya import write_checkout
from tests.support.image_files import ENDLESS_POSTSCRIPT, HEIC, huge_png, png_chunk, png_with
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation, state, write_one_tensor


@pytest.fixture(name="look")
def fixture_look(tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images")
    planner = Planner(world)
    return lambda folder=images, **changes: planner.plan(state(**changes), folder)


def test_valid_plan_passes_all_checks(look):
    found = look()
    assert found.can_start
    assert found.steps == 8


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lora_name": ""}, "lora_name"), ({"base_model": "flux-dev"}, "base_model"), ({"resolution": 100}, "resolution")],
)
def test_problem_that_prevents_start_is_reported_at_its_field(changes, field, look):
    found = look(**changes)
    assert not found.can_start
    assert field in [line.field for line in found.problems if line.level == "error"]


def test_images_are_not_compared_with_resolution_that_was_not_chosen(look):
    assert any("smaller than 512" in problem.message for problem in look(resolution=512).problems)
    assert not any("smaller than" in problem.message for problem in look(resolution=20).problems)


def test_missing_images_are_reported(look, tmp_path):
    found = look(tmp_path / "none")
    assert [line.message for line in found.problems if line.level == "error"] == ["Add at least one image."]
    assert found.steps is None


@pytest.fixture(name="gpu")
def fixture_gpu(monkeypatch):
    """Return a function that gives this machine a GPU of some GiB, or none."""

    def have(memory_gib):
        monkeypatch.setattr(start_checks, "has_gpu", lambda: memory_gib is not None)
        monkeypatch.setattr(start_checks, "smallest_memory_gib", lambda: memory_gib)

    return have


def tier_line(found):
    (line,) = [line for line in found.problems if line.field == "vram"]
    return line.level, line.message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", ENDLESS_POSTSCRIPT, "a.png is a PostScript (EPS) file, not an image; save it as .png or .jpg."),
        ("a.png", huge_png(10_400, 10_400), "a.png has 10400x10400 pixels, more than 108 million; make it smaller."),
        ("a.HEIC", b"<!doctype html>", "a.HEIC is a web page, not an image; save it as .png or .jpg."),
    ],
)
def test_file_refused_by_trainer_is_refused_with_same_message(name, content, words, look, tmp_path):
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


def test_images_that_kohya_checkout_leaves_out_prevent_start(tmp_path):
    images = write_cats(tmp_path / "images")
    (images / "x.heic").write_bytes(HEIC)
    world = replace(small_installation(tmp_path), sd_scripts=write_checkout(tmp_path / "kohya"))
    (message,) = [problem.message for problem in plan(state(), images, world).errors if problem.field == "images"]
    assert (
        message == "x.heic: a kohya checkout, set by --sd-scripts, does not read this format; save as .png, or train without --sd-scripts."
    )


@pytest.mark.parametrize("tier", TIERS)
def test_tier_options_are_reported(tier, look, gpu):
    gpu(48.0)
    assert tier_line(look(vram=tier)) == ("ok", f"GPU memory {tier}: {TIERS[tier].description}.")


@pytest.mark.parametrize(("tier", "memory", "better"), [("24G", 23.99, "20G"), ("20G", 15.99, "16G"), ("8G", 6.0, "no choice")])
def test_tier_above_gpu_memory_gives_warning_with_fitting_tier(tier, memory, better, look, gpu):
    gpu(memory)
    level, message = tier_line(look(vram=tier))
    assert level == "warning"
    assert f"This GPU has {memory:.0f} GiB of memory" in message
    assert better in message


@pytest.mark.parametrize(("large_model_bytes", "level"), [(10**9, "ok"), (16, "warning")])
def test_missing_gpu_is_reported(large_model_bytes, level, look, gpu, monkeypatch):
    gpu(None)
    monkeypatch.setattr(start_checks, "LARGE_MODEL_BYTES", large_model_bytes)
    found, message = tier_line(look())
    assert found == level
    assert message.startswith("No GPU was found: this training runs on the CPU.")


def test_kind_of_transformer_file_is_reported(look, tmp_path):
    write_one_tensor(tmp_path / "models" / "pocket" / "flux.safetensors", "double_blocks.0.img_attn.qkv.weight")
    (line,) = [line for line in look().problems if line.field == "base_model"]
    assert "the transformer is FLUX.1 schnell in" in line.message


def test_caption_without_texts_counts_as_missing_in_checks_and_in_gallery(look, tmp_path):
    folder = write_cats(tmp_path / "outputs" / "cat" / "dataset", count=3)
    (folder / "cat 0.txt").write_text(" \n")
    (folder / "cat 1.txt").write_bytes(b"\xef\xbb\xbf\n")
    (folder / "alone.txt").write_text("of no image")
    for trigger, sentence in (
        ("", "3 images, 2 without a caption and no trigger word that stands for it."),
        ("tok", "3 images, 2 without a caption, trained on the trigger word alone."),
    ):
        (line,) = [
            line for line in look(folder, concept_sentence=trigger).problems if "caption" in line.message and "images" in line.message
        ]
        assert (line.level, line.message, line.images, line.num_images) == (Level.WARNING, sentence, "no_caption", 2)
    make_run(tmp_path / "outputs", "cat")
    gallery = ImageRoutes(Settings(outputs=tmp_path / "outputs", models=tmp_path, sd_scripts=tmp_path))
    assert gallery.images(new_draft_id(), Selection(), source="cat", offset=0, limit=9).captioned == 1


def warnings(found):
    return [line.message for line in found.problems if line.level == "warning"]


def test_unused_images_and_captions_are_reported(look, tmp_path):
    folder = write_cats(tmp_path / "cats", count=3)
    (folder / "cat 0.txt").rename(folder / "cat 0.png.txt")
    (folder / "cat 1.txt").write_text("a dog")
    (folder / "cat 2.txt").write_text("sks cat, " * 60)
    (folder / "alone.txt").write_text("of no image")
    (folder / "x.raw9").touch()
    (folder / "inner").mkdir()
    (folder / "inner" / "y.png").write_bytes((folder / "cat 0.png").read_bytes())
    (folder / "twin.png").write_bytes((folder / "cat 0.png").read_bytes())
    (folder / "twin.txt").write_text("sks cat\nsitting")
    found = look(folder, advanced={"t5xxl_max_token_length": 40, "reg_data_dir": ""})
    assert found.can_start
    for words in (
        "1 file is left out (1 .raw9)", "1 image in inner", "1 caption file is not used: alone.txt", "same content: cat 0.png, twin.png",
        "1 caption does not contain the trigger word “sks cat”: cat 1.png", "1 caption is longer than the 40 tokens that T5 reads",
    ):  # fmt: skip
        assert any(words in text for text in warnings(found)), words
    assert found.images.captions["cat 0.png"] == "sks cat, crop 0"


@pytest.mark.parametrize("where", ["images", "regularization"])
def test_caption_refused_by_start_is_refused_by_checks_with_same_message(look, tmp_path, where):
    folder = tmp_path / "images" if where == "images" else write_cats(tmp_path / "models" / "reg")
    (folder / "cat 0.txt").write_bytes("Kätzchen".encode("cp1252"))
    changes = {"advanced": {"reg_data_dir": "" if where == "images" else "reg"}}
    settings = Settings(outputs=tmp_path / "outputs", models=tmp_path / "models", sd_scripts=tmp_path / "sd-scripts")
    (problem,) = look(**changes).errors
    assert "The caption cat 0.txt is not UTF-8 text" in problem.message
    with pytest.raises(DatasetError) as refused:
        start(StartRequest(state=state(**changes), images=tmp_path / "images"), settings)
    assert str(refused.value) == problem.message


@pytest.mark.parametrize("extension", ["", "txt", "../x", ".png", "./x"])
def test_caption_extension_that_no_file_can_have_is_refused_before_start(look, extension):
    (problem,) = look(advanced={"caption_extension": extension, "reg_data_dir": ""}).errors
    assert "caption_extension is a dot and letters" in problem.message


def test_name_that_start_refuses_is_refused_by_checks(look, tmp_path):
    (tmp_path / "images" / "cat 0.png").rename(tmp_path / "images" / os.fsdecode(b"p\xff.png"))
    assert any("is not UTF-8; rename it" in problem.message for problem in look().errors)


def test_empty_folder_with_kohya_subfolder_is_reported_with_its_content(look, tmp_path):
    write_cats(tmp_path / "all" / "10_mycat", count=2)
    (problem,) = look(tmp_path / "all").errors
    assert "2 images in 10_mycat" in problem.message
    assert "10 repeats per image and the trigger word “mycat”" in problem.message


def test_edit_event_reads_each_caption_once(look, tmp_path, monkeypatch):
    folder = write_cats(tmp_path / "many", count=5)
    look(folder)
    opened, real = [], os.open
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, **how: pytest.fail(f"{self} was read again"))
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail(f"{self} was read again"))
    monkeypatch.setattr(os, "open", lambda path, *how, **more: opened.append(path) or real(path, *how, **more))
    assert look(folder).steps
    assert opened == []


@pytest.mark.parametrize("broken", ["names", "disk", "models"])
def test_storage_errors_do_not_raise(look, tmp_path, monkeypatch, broken):
    def refuse(*how, **more):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    function = {"names": "os.scandir", "disk": "shutil.disk_usage", "models": "fluxgym.models.catalog._locate"}[broken]
    monkeypatch.setattr(function, refuse)
    found = look()
    assert not found.can_start
    assert any("Permission denied" in line.message for line in found.problems)
    assert len(found.problems) == len({line.message for line in found.problems})


def test_checks_require_same_disk_space_as_start(look, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=disk_space.MIN_FREE_BYTES - 1))
    (line,) = [line.message for line in look().problems if line.level == "error"]
    with pytest.raises(StorageError) as refused:
        start(StartRequest(state=state(), images=tmp_path / "images"), small_installation(tmp_path / "again"))
    assert str(refused.value).replace("again/", "") == line


def test_problems_of_regularization_images_are_about_their_field(look, tmp_path):
    others = write_cats(tmp_path / "others", count=2)
    os.mkfifo(others / "notes.txt")
    next(others.glob("*.png")).with_suffix(".txt").unlink(missing_ok=True)
    os.mkfifo(next(others.glob("*.png")).with_suffix(".txt"))
    found = look(advanced={"reg_data_dir": str(others)})
    assert [problem.field for problem in found.errors] == ["reg_data_dir"]
