"""Start in the form's events: the run it makes, an existing name, a second click, and errors."""

import os
from dataclasses import fields

import pytest

from fluxgym.dataset.folder_index import FolderIndex
from fluxgym.errors import AlreadyRunning
from fluxgym.planning import plan
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.drafts import Draft
from fluxgym.sessions.start import IfExists
from fluxgym.ui import form_start
from fluxgym.ui.api.answers import TakenName
from fluxgym.ui.api.images import Selection
from tests.support.photos import write_cats
from tests.support.runs import make_run, record_processes, state_of, wait_for, write_checkpoint
from tests.support.small_installation import stop_and_wait

TRAINABLE = {"lora_name": "cat", "num_repeats": "2", "max_train_epochs": "1", "train_batch_size": "1", "reg_data_dir": ""}


def test_start_makes_run_of_draft(page, draft, settings):
    write_cats(draft.images.path, count=4)
    page.typed(**TRAINABLE | {"lora_name": "My Cat"})
    answer = page.send("start")
    assert answer["started"] == {"slug": "my-cat"}
    assert (answer["source"], answer["reload_images"], answer["patch"]) == (["", "my-cat"], True, {})
    run = OutputsPaths(settings.outputs).run("my-cat")
    wait_until_ended(run)
    assert wait_for(lambda: state_of(run)["status"] == "completed")
    assert draft.read_form() is None
    assert draft.images.count() == 0
    answer = page.open(viewed="my-cat")
    assert (answer["source"][1], page.fields["lora_name"], page.fields["num_repeats"]) == ("my-cat", "My Cat", "2")


def test_form_stays_with_the_run_that_was_started_from_it(page, draft, settings):
    write_cats(draft.images.path, count=4)
    other = make_run(settings.outputs, "other", timestamp=1, max_train_epochs=9)
    write_cats(other.dataset, count=2)
    page.open()
    page.source = ""  # the form shows the draft's images
    page.typed(**TRAINABLE | {"base_model": "pocket"})
    page.send("start")
    answer = page.open(viewed="other")
    assert (page.fields["lora_name"], page.source, answer["draft"], answer["images"]) == ("cat", "cat", False, 4)
    page.send("open", slug="other", replace=True)
    page.open(viewed="cat")
    assert (page.fields["lora_name"], page.source) == ("other", "other")
    stop_and_wait(OutputsPaths(settings.outputs).run("cat"))


def test_form_shows_captions_as_they_were_after_start(page, draft, settings):
    write_cats(draft.images.path, count=4)
    for name, text in {"cat 0.png": "", "cat 1.png": "zork\nsitting\non a wall"}.items():
        draft.images.set_caption(name, text)
    before = [item.caption for item in draft.images.items()]
    page.typed(**TRAINABLE, concept_sentence="zork")
    page.send("start")
    run = OutputsPaths(settings.outputs).run("cat")
    shown = page.events._images.images(draft.id, Selection(), source=page.source, offset=0, limit=100)
    assert [item.caption for item in shown.items] == before
    assert (page.source, shown.count, shown.captioned) == ("cat", 4, 3)
    stop_and_wait(run)


def test_run_has_begun_even_if_its_draft_cannot_be_cleared(page, draft, settings, monkeypatch):
    write_cats(draft.images.path, count=4)
    page.typed(**TRAINABLE)

    def busy(self):
        raise AlreadyRunning("Other images are being brought into the form.")

    monkeypatch.setattr(Draft, "forget_images", busy)
    assert page.send("start")["started"] == {"slug": "cat"}
    wait_until_ended(OutputsPaths(settings.outputs).run("cat"))
    assert "being brought" in page.send("fresh")["message"]


def test_existing_name_is_asked_about_and_new_version_started(page, draft, settings):
    make_run(settings.outputs, "cat", status="stopped", timestamp=1)
    write_cats(draft.images.path, count=4)
    page.open()
    page.source = ""  # the form shows the draft's images
    page.typed(**TRAINABLE | {"base_model": "pocket"})
    answer = page.send("start")
    assert answer["taken"]["new"] == "Start as cat-2"
    assert answer["taken"]["resume"] is None
    assert answer["taken"]["replace"] == "Replace cat"
    assert answer["taken"]["replace_help"].startswith("Moves the existing run to the archive with all it holds (")
    assert "“Removed runs…”" in answer["taken"]["replace_help"]
    assert answer["patch"] == {}
    answer = page.send("start", if_exists="new")
    assert answer["started"] == {"slug": "cat-2"}
    wait_until_ended(OutputsPaths(settings.outputs).run("cat-2"))


def test_name_whose_run_is_alive_offers_neither_resume_nor_replace(page, draft, settings):
    run = make_run(settings.outputs, "cat", status="running", timestamp=1, max_train_epochs=4)
    write_checkpoint(run, "cat-000001-state", 20)
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, me)
    run.training_pid.write_text(str(os.getpid()))
    write_cats(draft.images.path, count=4)
    page.typed(**TRAINABLE | {"base_model": "pocket"})
    taken = page.send("start")["taken"]
    assert (taken["resume"], taken["replace"], taken["new"]) == (None, None, "Start as cat-2")


def test_second_click_on_start_opens_run_of_first(page, draft, settings, tmp_path, monkeypatch):
    write_cats(draft.images.path, count=4)
    run = OutputsPaths(settings.outputs).run("cat")
    monkeypatch.setenv("TEST_HOLD", str(tmp_path))
    (tmp_path / "cat").touch()  # the little trainer waits
    page.typed(**TRAINABLE)
    assert page.send("start")["started"] == {"slug": "cat"}
    page.source = ""  # pressed before the first answer came
    assert page.send("start")["started"] == {"slug": "cat"}
    page.typed(lora_name="Cat", num_repeats="3")
    assert "taken" in page.send("start")  # other settings are another training
    monkeypatch.setattr(form_start, "TWICE_S", 0.0)
    page.typed(**TRAINABLE)
    assert "taken" in page.send("start")  # later it is a question again
    (tmp_path / "cat").unlink()
    wait_until_ended(run)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lora_name": ""}, "lora_name"), ({"lora_name": "cat", "learning_rate": "abc"}, "learning_rate"), ({"lora_name": "../x"}, "lora_name"),
     ({"lora_name": "cat", "seed": ""}, "seed"), ({"lora_name": "cat", "resume_from_checkpoint": "nowhere"}, "resume_from_checkpoint")],
)  # fmt: skip
def test_start_reports_problem_beside_its_field_and_leaves_nothing(page, draft, settings, changes, field):
    write_cats(draft.images.path, count=4)
    page.typed(**changes)
    answer = page.send("start")
    assert field in answer["errors"]
    assert answer["pressed"]
    assert "started" not in answer
    assert list(OutputsPaths(settings.outputs).runs()) == []
    assert draft.images.count() == 4


def test_start_without_images_is_refused(page, settings):
    page.typed(lora_name="cat")
    answer = page.send("start")
    assert any(line["text"] == "Add at least one image." for line in answer["lines"])
    assert list(OutputsPaths(settings.outputs).runs()) == []


def test_missing_trainer_is_one_of_checks_and_nothing_starts(page, draft, settings):
    write_cats(draft.images.path, count=4)
    (settings.sd_scripts / "flux_train_network.py").unlink()
    page.typed(lora_name="cat")
    answer = page.send("start")
    assert any(line["level"] == "error" and "flux_train_network.py" in line["text"] for line in answer["lines"])
    assert list(OutputsPaths(settings.outputs).runs()) == []


def test_click_on_start_plans_once_and_reads_image_sizes_once(page, draft, settings, monkeypatch):
    write_cats(draft.images.path, count=4)
    page.typed(lora_name="cat", num_repeats="2", max_train_epochs="1", reg_data_dir="")
    calls = []

    def counted(name, function):
        return lambda *args, **more: calls.append(name) or function(*args, **more)

    monkeypatch.setattr(plan, "read_config", counted("plan", plan.read_config))
    monkeypatch.setattr(FolderIndex, "sizes", counted("sizes", FolderIndex.sizes))
    assert page.send("start")["source"] == ["", "cat"]
    assert calls == ["plan", "sizes"]
    stop_and_wait(OutputsPaths(settings.outputs).run("cat"))


def test_choices_about_existing_name_are_those_of_start():
    assert {field.name for field in fields(TakenName)} >= set(IfExists)
