"""The form's events: what a page shows when it opens, what is kept of what was typed, and what Start answers."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest

from fluxgym.errors import AlreadyRunning
from fluxgym.planning import checks, plan
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.control import wait_until_ended
from fluxgym.sessions.drafts import Draft, open_draft
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui import form_events
from fluxgym.ui.api.images import ImageHandlers
from fluxgym.ui.api.templates import TemplateHandlers
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_events import TrainingHandlers
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats
from tests.support.runs import make_run, state_of, wait_for
from tests.support.small_world import small_world, stop_and_wait

EPOCHS = NAMES.index("max_train_epochs")


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_world(tmp_path)


@pytest.fixture
def handlers(settings):
    """Return the form's handlers."""
    return TrainingHandlers(settings, ImageHandlers(settings), SessionIndex(settings.outputs), TemplateHandlers(settings))


@pytest.fixture
def draft(settings):
    """Return this browser's draft."""
    return open_draft(settings.outputs, new_draft_id())


def opened(handlers, draft, viewed=None, unsent=None):
    """Return (source, fields by name, answer) of a page that opens."""
    _, source, _, *fields, gallery, answer = handlers.restore(draft.id, viewed, unsent)
    assert gallery["source"] == source
    return source, dict(zip(NAMES, fields, strict=True)), answer


def typed(handlers, draft, **changes):
    """Return what the fields hold after a page was opened and something typed."""
    _, fields, _ = opened(handlers, draft)
    return list((fields | changes).values())


def test_a_first_visit_shows_fluxgyms_defaults_with_the_pocket_model(handlers, draft):
    source, fields, answer = opened(handlers, draft)
    assert source == ""
    assert (fields["lora_name"], fields["base_model"], fields["resolution"]) == ("", "pocket", 64)
    assert answer["errors"] == {}
    assert not answer["draft"]


def test_a_return_shows_the_newest_run_or_the_one_looked_at_last(handlers, draft, settings):
    make_run(settings.outputs, "old", timestamp=1, max_train_epochs=7, advanced={"network_alpha": 5})
    make_run(settings.outputs, "new", timestamp=2, max_train_epochs=8)
    assert opened(handlers, draft)[1]["lora_name"] == "new"
    source, fields, _ = opened(handlers, draft, viewed="old")
    assert (fields["lora_name"], fields["max_train_epochs"], fields["network_alpha"]) == ("old", 7, 5)
    assert source == "old"


def test_what_was_typed_is_on_disk_and_comes_back_first(handlers, draft, settings):
    make_run(settings.outputs, "cat", timestamp=2)
    answer = handlers.changed("name", draft.id, "", *typed(handlers, draft, lora_name="dog", max_train_epochs=3))[1]
    assert answer["kept"] == "name"
    _, fields, answer = opened(handlers, draft, viewed="cat")
    assert (fields["lora_name"], fields["max_train_epochs"]) == ("dog", 3)
    assert answer["draft"]


def test_what_the_browser_could_not_send_comes_back_before_the_draft(handlers, draft):
    handlers.changed("name", draft.id, "", *typed(handlers, draft, lora_name="sent"))
    held = {"lora_name": "typed while the app was away", "seed": 7, "a field of another version": 3}
    fields = opened(handlers, draft, unsent=json.dumps({"name": "x", "values": dict(reversed(held.items())), "source": ""}))[1]
    assert (fields["lora_name"], fields["seed"], fields["workers"]) == ("typed while the app was away", 7, 2)


@pytest.mark.parametrize("unsent", [None, "", "null", "{", "[]", '{"values": [1]}', '{"values": 3}'])
def test_a_damaged_memory_of_the_browser_is_left_alone(handlers, draft, unsent):
    assert opened(handlers, draft, unsent=unsent)[1]["base_model"] == "pocket"


@pytest.mark.parametrize("form", ["", "{", "[]", '{"state": 3, "source": 4}', '{"state": {"seed": {}}, "source": "../x"}'])
def test_a_damaged_draft_is_left_alone(handlers, draft, form):
    draft.folder.mkdir(parents=True)
    (draft.folder / "form.json").write_text(form)
    assert opened(handlers, draft)[0] == ""


def test_two_browsers_have_two_drafts(handlers, draft, settings):
    other = open_draft(settings.outputs, new_draft_id())
    handlers.changed("name", draft.id, "", *typed(handlers, draft, lora_name="mine"))
    assert opened(handlers, other)[1]["lora_name"] == ""


def test_a_mistake_is_kept_as_typed_and_named(handlers, draft):
    answer = handlers.changed("name", draft.id, "", *typed(handlers, draft, lora_name="cat", learning_rate="abc"))[1]
    assert "abc" in answer["errors"]["learning_rate"]
    _, fields, answer = opened(handlers, draft)
    assert fields["learning_rate"] == "abc"
    assert "learning_rate" in answer["errors"]


def test_choosing_a_model_fills_untouched_fields(handlers, draft):
    fields = typed(handlers, draft, lora_name="cat", max_train_epochs=5, base_model="flux-dev")
    model, *shown, answer = handlers.choose_model(draft.id, "", "pocket", *fields)
    assert model == "flux-dev"
    shown = dict(zip(NAMES, shown, strict=True))
    assert (shown["resolution"], shown["learning_rate"], shown["max_train_epochs"], shown["enable_bucket"]) == (512, "8e-4", 5, True)
    assert "missing" in answer["errors"]["base_model"]


def test_start_makes_a_run_of_the_draft(handlers, draft, settings):
    write_cats(draft.images.path, count=4)
    fields = typed(handlers, draft, lora_name="My Cat", num_repeats=2, max_train_epochs=1, train_batch_size=1, reg_data_dir="")
    source, gallery, answer = handlers.start(draft.id, "", *fields, "")
    assert answer["started"] == {"slug": "my-cat"}
    assert source == gallery["source"] == "my-cat"
    run = OutputsPaths(settings.outputs).run("my-cat")
    wait_until_ended(run)
    assert wait_for(lambda: state_of(run)["status"] == "completed")
    assert draft.read_form() is None
    assert draft.images.count() == 0
    source, shown, _ = opened(handlers, draft, viewed="my-cat")
    assert (source, shown["lora_name"], shown["num_repeats"]) == ("my-cat", "My Cat", 2)


def test_a_run_has_begun_even_if_its_draft_cannot_be_cleared(handlers, draft, settings, monkeypatch):
    write_cats(draft.images.path, count=4)
    fields = typed(handlers, draft, lora_name="cat", num_repeats=2, max_train_epochs=1, train_batch_size=1, reg_data_dir="")

    def busy(self):
        raise AlreadyRunning("Other images are being brought into the form.")

    monkeypatch.setattr(Draft, "forget_images", busy)
    assert handlers.start(draft.id, "", *fields, "")[2]["started"] == {"slug": "cat"}
    wait_until_ended(OutputsPaths(settings.outputs).run("cat"))
    assert "being brought" in handlers.fresh(draft.id)[-1]["message"]


def test_a_taken_name_is_asked_about_and_a_new_version_started(handlers, draft, settings):
    make_run(settings.outputs, "cat", status="stopped", timestamp=1)
    write_cats(draft.images.path, count=4)
    fields = typed(
        handlers, draft, lora_name="cat", base_model="pocket", num_repeats=2, max_train_epochs=1, train_batch_size=1, reg_data_dir=""
    )
    answer = handlers.start(draft.id, "", *fields, "")[2]
    assert answer["taken"]["new"] == "Start as cat-2"
    assert answer["taken"]["resume"] is None
    answer = handlers.choose(draft.id, "", SimpleNamespace(if_exists="new"), *fields, "")[2]
    assert answer["started"] == {"slug": "cat-2"}
    wait_until_ended(OutputsPaths(settings.outputs).run("cat-2"))


def test_a_second_press_on_start_opens_the_run_of_the_first(handlers, draft, settings, tmp_path, monkeypatch):
    write_cats(draft.images.path, count=4)
    run = OutputsPaths(settings.outputs).run("cat")
    monkeypatch.setenv("TEST_HOLD", str(tmp_path))
    (tmp_path / "cat").touch()  # the little trainer waits
    fields = typed(handlers, draft, lora_name="cat", num_repeats=2, max_train_epochs=1, train_batch_size=1, reg_data_dir="")
    assert handlers.start(draft.id, "", *fields, "")[2]["started"] == {"slug": "cat"}
    assert handlers.start(draft.id, "", *fields, "")[2]["started"] == {"slug": "cat"}
    other = typed(handlers, draft, lora_name="Cat", num_repeats=3, max_train_epochs=1, train_batch_size=1, reg_data_dir="")
    assert "taken" in handlers.start(draft.id, "cat", *other, "")[2]  # other settings are another training
    monkeypatch.setattr(form_events, "TWICE_S", 0.0)
    assert "taken" in handlers.start(draft.id, "cat", *fields, "")[2]  # later it is a question again
    (tmp_path / "cat").unlink()
    wait_until_ended(run)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"lora_name": ""}, "lora_name"), ({"lora_name": "cat", "learning_rate": "abc"}, "learning_rate"), ({"lora_name": "../x"}, "lora_name"),
     ({"lora_name": "cat", "resume_from_checkpoint": "nowhere"}, "resume_from_checkpoint")],
)  # fmt: skip
def test_start_says_beside_the_field_what_stands_in_the_way_and_leaves_nothing(handlers, draft, settings, changes, field):
    write_cats(draft.images.path, count=4)
    answer = handlers.start(draft.id, "", *typed(handlers, draft, **changes), "")[2]
    assert field in answer["errors"]
    assert "started" not in answer
    assert list(OutputsPaths(settings.outputs).runs()) == []
    assert draft.images.count() == 4


def test_start_without_images_is_refused(handlers, draft, settings):
    answer = handlers.start(draft.id, "", *typed(handlers, draft, lora_name="cat"), "")[2]
    assert any("no images" in line["text"] for line in answer["lines"])
    assert list(OutputsPaths(settings.outputs).runs()) == []


def test_a_missing_trainer_is_one_of_the_checks_and_nothing_starts(handlers, draft, settings):
    write_cats(draft.images.path, count=4)
    (settings.sd_scripts / "flux_train_network.py").unlink()
    answer = handlers.start(draft.id, "", *typed(handlers, draft, lora_name="cat"), "")[2]
    assert any(line["level"] == "error" and "flux_train_network.py" in line["text"] for line in answer["lines"])
    assert list(OutputsPaths(settings.outputs).runs()) == []


def test_a_click_on_start_plans_once_and_reads_the_image_sizes_once(handlers, draft, settings, monkeypatch):
    write_cats(draft.images.path, count=4)
    fields = typed(handlers, draft, lora_name="cat", num_repeats=2, max_train_epochs=1, reg_data_dir="")
    calls = []

    def counted(name, function):
        return lambda *args, **more: calls.append(name) or function(*args, **more)

    monkeypatch.setattr(plan, "read_config", counted("plan", plan.read_config))
    monkeypatch.setattr(checks, "sizes", counted("sizes", checks.sizes))
    source = handlers.start(draft.id, "", *fields, "")[0]
    assert source == "cat"
    assert calls == ["plan", "sizes"]
    stop_and_wait(OutputsPaths(settings.outputs).run("cat"))


def test_opening_a_run_never_throws_away_what_was_typed(handlers, draft, settings):
    make_run(settings.outputs, "cat", timestamp=1, max_train_epochs=9)
    handlers.changed("name", draft.id, "", *typed(handlers, draft, lora_name="mine"))
    handlers.open(draft.id, SimpleNamespace(slug="cat"))
    assert opened(handlers, draft)[1]["lora_name"] == "mine"
    shown = handlers.open(draft.id, SimpleNamespace(slug="cat", replace=True))
    assert shown[3 + EPOCHS] == 9
    assert opened(handlers, draft, viewed="cat")[1]["lora_name"] == "cat"


def test_opening_a_run_in_place_of_what_was_typed_takes_its_images_too(handlers, draft, settings):
    make_run(settings.outputs, "cat", timestamp=1)
    write_cats(draft.images.path, count=2)
    handlers.open(draft.id, SimpleNamespace(slug="cat"))
    assert draft.images.count() == 2
    handlers.open(draft.id, SimpleNamespace(slug="cat", replace=True))
    assert draft.images.count() == 0


def test_a_run_deleted_meanwhile_leaves_the_form_usable(handlers, draft):
    fields = typed(handlers, draft, lora_name="cat")
    answer = handlers.changed("name", draft.id, "gone", *fields)[1]
    assert any("no images" in line["text"] for line in answer["lines"])


def test_what_the_disk_refuses_stays_with_the_browser(handlers, draft, settings):
    fields = typed(handlers, draft, lora_name="cat")
    settings.outputs.mkdir()
    (settings.outputs / ".fluxgym").write_text("a file in the way")
    answer = handlers.changed("name", draft.id, "", *fields)[1]
    assert "kept" not in answer
    assert answer["message"]


def test_the_examples_proposals_fill_only_what_is_empty(handlers, draft):
    fields = typed(handlers, draft, concept_sentence="my own")
    event = SimpleNamespace(source="", name="example-cat", trigger="sks cat")
    assert handlers.images_changed(draft.id, event, *fields)[:3] == ["", "example-cat", gr.skip()]  # what is typed is never sent back
    assert handlers.images_changed(draft.id, SimpleNamespace(source=""), *fields)[1:3] == [gr.skip(), gr.skip()]


def test_a_template_fills_the_fields_but_not_the_name(handlers, draft, settings):
    templates = TemplateHandlers(settings)
    kept = templates.save(SimpleNamespace(name="Faces"), *typed(handlers, draft, lora_name="dog", max_train_epochs=7, network_alpha=3))
    assert kept == {"message": "Saved as Faces."}
    assert templates.save(SimpleNamespace(name="x"), *typed(handlers, draft, seed=None))["message"].startswith("Not saved: Seed")
    assert templates.save(SimpleNamespace(name="🐱"), *typed(handlers, draft))["message"].startswith("Not saved: The template")
    assert templates.templates({}) == {"templates": ["Faces"]}
    now = typed(handlers, draft, lora_name="cat", concept_sentence="sks cat")
    _, *fields, answer = handlers.apply_template(draft.id, "", SimpleNamespace(name="Faces"), *now)
    shown = dict(zip(NAMES, fields, strict=True))
    assert (shown["lora_name"], shown["max_train_epochs"], shown["network_alpha"], shown["concept_sentence"]) == ("cat", 7, 3, "sks cat")
    assert answer["draft"]
    assert handlers.apply_template(draft.id, "", SimpleNamespace(name="none"), *now)[1:-1] == now
    assert templates.forget_template({"name": "Faces"}) == {}
    assert "no template" in templates.forget_template({"name": "Faces"})["error"]


def test_a_damaged_list_of_models_leaves_the_form_usable(handlers, draft, settings):
    (settings.models / "models.yaml").write_text("[1")
    assert opened(handlers, draft)[1]["max_train_epochs"] == 16
    _, _, _, *fields, _, _ = handlers.fresh(draft.id)
    fresh = dict(zip(NAMES, fields, strict=True))
    assert fresh["max_train_epochs"] == 16
    handlers.changed("x", draft.id, "", *typed(handlers, draft, lora_name="cat"))


def test_a_new_training_empties_the_form_and_touches_no_run(handlers, draft, settings):
    run = make_run(settings.outputs, "cat", timestamp=2)
    write_cats(run.dataset, count=1)
    write_cats(draft.images.path, count=2)
    handlers.changed("x", draft.id, "cat", *typed(handlers, draft, lora_name="dog"))
    _, source, _, *fields, gallery, answer = handlers.fresh(draft.id)
    assert (source, dict(zip(NAMES, fields, strict=True))["lora_name"], answer["draft"]) == ("", "", False)
    assert (draft.images.count(), gallery["source"], draft.read_form()) == (0, "", None)
    assert len(list(run.dataset.glob("*.png"))) == 1
