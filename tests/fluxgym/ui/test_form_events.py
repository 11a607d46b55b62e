"""The form's events: what a page shows when it opens, which typed values are kept, and the response to Start."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.drafts import open_draft
from fluxgym.sessions.templates import list_templates
from fluxgym.ui.api.answers import FormKind
from fluxgym.ui.form import NAMES
from fluxgym.ui.form_events import to_json
from fluxgym.ui.form_request import FormRequest
from tests.support.drafts import new_draft_id
from tests.support.form_page import FormPage
from tests.support.photos import write_cats
from tests.support.runs import make_run


def test_first_visit_shows_fluxgym_defaults_with_pocket_model(page):
    answer = page.open()
    assert answer["source"] == ["", ""]
    assert (page.fields["lora_name"], page.fields["base_model"], page.fields["resolution"]) == ("", "pocket", "64")
    assert (answer["errors"], answer["draft"], answer["model"]) == ({}, False, "pocket")
    assert "lora_name" not in answer["patch"]


def test_return_shows_newest_run_or_one_looked_at_last(page, settings):
    make_run(settings.outputs, "old", timestamp=1, max_train_epochs=7, advanced={"network_alpha": 5})
    make_run(settings.outputs, "new", timestamp=2, max_train_epochs=8)
    page.open()
    assert page.fields["lora_name"] == "new"
    answer = page.open(viewed="old")
    assert [page.fields[name] for name in ("lora_name", "max_train_epochs", "network_alpha")] == ["old", "7", "5"]
    assert answer["source"] == ["", "old"]
    assert answer["patch"]["max_train_epochs"] == ["16", "7"]


def test_typed_values_are_stored_and_restored_first(page, settings):
    make_run(settings.outputs, "cat", timestamp=2)
    answer = page.typed(lora_name="dog", max_train_epochs="3")
    assert answer["kept"] == answer["request"]
    answer = page.open(viewed="cat")
    assert (page.fields["lora_name"], page.fields["max_train_epochs"]) == ("dog", "3")
    assert answer["draft"]


def test_edit_is_answered_without_any_value_of_field(page):
    for name in NAMES:
        answer = page.typed(**{name: True if isinstance(page.fields[name], bool) else "12"})
        assert answer["patch"] == {}, name


def test_unsent_values_of_browser_are_restored_before_draft(page):
    page.typed(lora_name="sent")
    held = {"lora_name": "typed while the app was away", "seed": "7", "a field of another version": 3}
    page.open(unsent=json.dumps({"name": 1, "values": dict(reversed(held.items())), "source": ""}))
    assert [page.fields[name] for name in ("lora_name", "seed", "workers")] == ["typed while the app was away", "7", "2"]


AS_TYPED = {"num_repeats": "007", "max_train_epochs": " 8 ", "learning_rate": "3E-4", "network_alpha": "1.50", "seed": "", "lora_name": " cat ",
            "other_flags": "# mine\n\n--min_snr_gamma=5.0\nodd line"}  # fmt: skip


@pytest.mark.parametrize("is_sent", [True, False])
def test_draft_is_restored_exactly_as_it_was_typed(page, is_sent):
    typed = {name: value for name, value in AS_TYPED.items() if name in NAMES}
    assert len(typed) == len(AS_TYPED)
    if is_sent:
        page.typed(**typed)
    page.open(unsent=None if is_sent else json.dumps({"values": dict(page.fields) | typed, "source": ""}))
    assert {name: page.fields[name] for name in typed} == typed


def test_state_with_value_that_no_field_can_show_names_field(page, settings):
    make_run(settings.outputs, "cat", timestamp=1, seed=[1], enable_checkpointing="true", lora_name=True, advanced={"network_alpha": {}})
    message = page.open()["message"]
    assert message == "The saved values of LoRA alpha, LoRA name, Seed cannot be shown in the form. Check before you start."
    assert page.fields["enable_checkpointing"] is True


def test_undo_of_reset_puts_back_exactly_what_was_there_or_names_field(page):
    answer = page.send("put_back", values={"seed": "007", "workers": 3, "enable_monitoring": "no", "gone": 1, "enable_checkpointing": True})
    assert answer["message"] == "The saved values of Enable monitoring, Workers cannot be shown in the form. Check before you start."
    assert (page.fields["seed"], page.fields["enable_checkpointing"]) == ("007", True)
    assert page.fields["workers"] == "2"


@pytest.mark.parametrize(("edited_at", "name"), [(10.0, "saved by another tab"), (30.0, "typed while away")])
def test_newer_of_draft_and_unsent_values_is_restored(page, edited_at, name):
    page.typed(lora_name="saved by another tab", page="b", edited_at=20.0, sent_at=20.0)
    page.open(unsent=json.dumps({"values": {"lora_name": "typed while away"}, "source": "", "edited_at": edited_at}))
    assert page.fields["lora_name"] == name


def test_model_chosen_while_app_was_down_brings_its_defaults_after_reload(page):
    held = dict(page.fields) | {"base_model": "flux-dev", "max_train_epochs": "007"}
    page.open(unsent=json.dumps({"values": held, "source": "", "model": "pocket"}))
    assert [page.fields[name] for name in ("base_model", "resolution", "max_train_epochs")] == ["flux-dev", "512", "007"]
    page.open(unsent=json.dumps({"values": held | {"resolution": "640"}, "source": "", "model": "pocket"}))
    assert page.fields["resolution"] == "640"
    page.open(unsent=json.dumps({"values": held, "source": "", "model": "flux-dev"}))
    assert page.fields["resolution"] == held["resolution"]


def test_another_model_or_template_leaves_what_it_does_not_change_exactly_as_typed(page):
    page.send("save_template", name="mine")
    page.fields |= AS_TYPED | {"base_model": "flux-dev"}
    page.send("model", model="pocket")
    assert {name: page.fields[name] for name in AS_TYPED} == AS_TYPED
    assert page.fields["resolution"] == "512"
    page.fields |= {"num_repeats": "010"}
    page.send("apply_template", name="mine")
    assert page.fields["num_repeats"] == "010"
    assert page.fields["resolution"] != "512"


@pytest.mark.parametrize("unsent", [None, "", "null", "{", "[]", '{"values": [1]}', '{"values": 3}', "7", "[" * 100_000])
def test_damaged_browser_storage_is_ignored(page, unsent):
    page.open(unsent=unsent)
    assert page.fields["base_model"] == "pocket"


@pytest.mark.parametrize("form", ["", "{", "[]", '{"state": 3, "source": 4}', '{"state": {"seed": {}}, "source": "../x"}'])
def test_damaged_draft_is_not_changed(page, draft, form):
    draft.folder.mkdir(parents=True)
    (draft.folder / "form.json").write_text(form)
    assert page.open()["source"] == ["", ""]


def test_older_request_never_replaces_newer_content(page):
    page.typed(lora_name="new", page="a", number=7)
    old = dict(page.fields) | {"lora_name": "old"}
    for kind in ("typed", "images", "reset", "save_template"):
        data = {"request": 6, "kind": kind, "page": "a", "draft": page.draft.id, "sent_at": 1e9, "edited_at": 1e9, "name": "x"}
        page.events.respond(FormRequest.from_event(data, old, ""))
        page.open()
        assert page.fields["lora_name"] == "new", kind


@pytest.mark.parametrize("kind", ["fresh", "open"])
def test_older_request_never_brings_back_what_was_discarded(page, settings, kind):
    make_run(settings.outputs, "cat", timestamp=1)
    page.typed(lora_name="old", page="a", number=5)
    page.send(kind, page="a", slug="cat", replace=True, number=7)
    data = {"request": 6, "kind": "typed", "page": "a", "draft": page.draft.id}
    page.events.respond(FormRequest.from_event(data, dict(page.fields) | {"lora_name": "old"}, ""))
    assert page.draft.read_form() is None
    page.typed(lora_name="next", page="a", number=8)
    page.send(kind, page="a", slug="cat", replace=True, number=7)  # late, and older than what was typed
    page.open()
    assert page.fields["lora_name"] == "next"


def test_tab_with_older_content_never_replaces_that_of_another_tab(page, settings):
    page.typed(lora_name="first", page="a", edited_at=10.0, sent_at=10.0)
    other = FormPage(settings, page.draft)
    other.open()
    other.typed(lora_name="second", page="b", edited_at=20.0, sent_at=20.0)
    assert page.send("images", page="a", edited_at=10.0, sent_at=30.0)["kept"]  # new images, but its fields are older
    other.open()
    assert other.fields["lora_name"] == "second"
    page.typed(lora_name="third", page="a", edited_at=40.0, sent_at=40.0)
    other.open()
    assert other.fields["lora_name"] == "third"


def test_requests_of_one_draft_at_once_leave_newest(page):
    def send(number):
        data = {"request": number, "kind": "images" if number % 2 else "typed", "page": "a", "draft": page.draft.id}
        page.events.respond(FormRequest.from_event(data, dict(page.fields) | {"lora_name": f"name {number}"}, ""))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, [3, 8, 1, 6, 2, 7, 5, 4]))
    page.open()
    assert page.fields["lora_name"] == "name 8"


def test_two_browsers_have_two_drafts(page, settings):
    page.typed(lora_name="mine")
    other = FormPage(settings, open_draft(settings.outputs, new_draft_id()))
    other.open()
    assert other.fields["lora_name"] == ""


@pytest.mark.parametrize(("field", "text", "word"), [("learning_rate", "abc", "abc"), ("num_repeats", "3,5", "must be a whole number, not “3,5”."),
                                                     ("num_repeats", "1_0", "1_0"), ("network_alpha", "2,5", "Use a point: 2.5")])  # fmt: skip
def test_invalid_value_is_kept_as_typed_and_reported(page, field, text, word):
    answer = page.typed(lora_name="cat", **{field: text})
    assert word in answer["errors"][field]
    assert ("steps" in answer, answer["command"]) == (False, "")
    answer = page.open()
    assert page.fields[field] == text
    assert field in answer["errors"]


def test_message_about_emptied_number_names_default_of_chosen_model(page):
    answer = page.typed(lora_name="cat", base_model="pocket", resolution="")
    assert answer["errors"]["resolution"] == "Resize dataset images is empty. Enter a number, such as 64."


def test_emptied_number_is_reported_and_stays_empty(page):
    answer = page.typed(lora_name="cat", max_train_epochs="")
    assert "is empty" in answer["errors"]["max_train_epochs"]
    assert answer["patch"] == {}


def test_choosing_model_fills_untouched_fields(page):
    page.typed(lora_name="cat", max_train_epochs="5")
    page.fields["base_model"] = "flux-dev"
    answer = page.send("model")
    assert answer["model"] == page.fields["base_model"] == "flux-dev"
    shown = [page.fields[name] for name in ("resolution", "learning_rate", "max_train_epochs", "enable_bucket")]
    assert shown == ["512", "8e-4", "5", True]
    assert "FLUX.1 dev lacks the FLUX transformer" in answer["errors"]["base_model"]
    assert answer["patch"]["resolution"] == ["64", "512"]
    assert not {"base_model", "max_train_epochs", "lora_name"} & set(answer["patch"])
    assert page.open()["draft"]
    assert page.fields["resolution"] == "512"


def test_opening_run_keeps_typed_values(page, settings):
    make_run(settings.outputs, "cat", timestamp=1, max_train_epochs=9)
    page.typed(lora_name="mine")
    answer = page.send("open", slug="cat")
    assert (answer["patch"], answer["source"], answer["draft"]) == ({}, ["", ""], True)
    page.open()
    assert page.fields["lora_name"] == "mine"
    answer = page.send("open", slug="cat", replace=True)
    assert answer["patch"]["max_train_epochs"] == ["32", "9"]
    assert answer["patch"]["lora_name"] == ["mine", "cat"]
    assert answer["source"] == ["", "cat"]
    page.open(viewed="cat")
    assert page.fields["lora_name"] == "cat"


def test_opening_run_in_place_of_what_was_typed_takes_its_images_too(page, draft, settings):
    make_run(settings.outputs, "cat", timestamp=1)
    write_cats(draft.images.path, count=2)
    page.send("open", slug="cat")
    assert draft.images.count() == 2
    page.send("open", slug="cat", replace=True)
    assert draft.images.count() == 0


@pytest.mark.parametrize("slug", ["gone", "", "../cat", "a/b", "x" * 5000, "a\0b", "a\nb", "%2F", None, 7, ["cat"]])
def test_opening_run_that_does_not_exist_changes_nothing(page, slug):
    before = dict(page.fields)
    answer = page.send("open", slug=slug)
    assert (page.fields, answer["source"], "message" in answer) == (before, ["", ""], False)


def test_run_deleted_concurrently_leaves_form_usable(page):
    page.source = "gone"
    answer = page.typed(lora_name="cat")
    assert any(line["text"] == "Add at least one image." for line in answer["lines"])


def test_values_that_disk_refuses_are_kept_in_browser(page, settings):
    settings.outputs.mkdir()
    (settings.outputs / ".fluxgym").write_text("a file in the way")
    answer = page.typed(lora_name="cat")
    assert "kept" not in answer
    assert answer["message"]
    assert answer["patch"] == {}


def test_examples_proposals_fill_only_what_is_empty(page):
    page.typed(concept_sentence="my own")
    answer = page.send("images", name="example-cat", trigger="sks cat")
    assert answer["patch"] == {"lora_name": ["", "example-cat"]}  # what is typed is never sent back
    assert page.send("images")["patch"] == {}


def test_kohya_folders_bring_their_repeats_and_fill_empty_trigger(page):
    page.typed(num_repeats="7")
    answer = page.send("images", folders=["12_tabby cat"])
    assert answer["patch"] == {"num_repeats": ["7", "12"], "concept_sentence": ["", "tabby cat"]}
    assert answer["notice"] == "The images are in kohya's folder 12_tabby cat, so “Repeat trains per image” is 12. It was 7."
    answer = page.send("images", folders=["3_dog", "4_cat"])
    assert (answer["patch"], "with different numbers of repeats" in answer["notice"]) == ({}, True)
    for folders in ([""], ["12_cat", "more"], [], "12_cat", [12]):
        answer = page.send("images", folders=folders)
        assert (answer["patch"], answer.get("notice")) == ({}, None)


def test_template_fills_fields_but_not_name(page, settings):
    page.typed(lora_name="dog", max_train_epochs="7", network_alpha="3")
    assert page.send("save_template", name="Faces")["notice"] == "Saved as the template Faces."
    page.typed(seed="")
    assert page.send("save_template", name="x")["message"].startswith("The template was not saved: Seed")
    page.typed(seed="42")
    assert "template" in page.send("save_template", name="🐱")["message"]
    assert [template.name for template in list_templates(OutputsPaths(settings.outputs))] == ["Faces"]
    page.typed(lora_name="cat", concept_sentence="sks cat", max_train_epochs="16", network_alpha="1")
    for agreed in ("ReplacesTemplate", [], [1]):  # only a list of texts agrees
        assert "already" in page.send("save_template", name="Faces", agreed=agreed)["message"]
    answer = page.send("apply_template", name="Faces")
    assert answer["patch"] == {"max_train_epochs": ["16", "7"], "network_alpha": ["1", "3"]}
    assert (page.fields["lora_name"], page.fields["concept_sentence"], answer["draft"]) == ("cat", "sks cat", True)
    assert answer["notice"] == "Applied the template Faces."
    page.send("put_back", values={name: sent for name, (sent, _) in answer["patch"].items()})
    assert (page.fields["max_train_epochs"], page.fields["network_alpha"], page.model) == ("16", "1", page.fields["base_model"])
    page.send("apply_template", name="Faces")
    missing = page.send("apply_template", name="none")
    assert (missing["patch"], "no template" in missing["message"]) == ({}, True)
    assert page.open()["draft"]
    assert page.fields["max_train_epochs"] == "7"
    page.typed(max_train_epochs="9")
    assert "notice" in page.send("save_template", name="Faces", agreed=["ReplacesTemplate"])


def test_damaged_list_of_models_leaves_form_usable(page, settings):
    (settings.models / "models.yaml").write_text("[1")
    page.open()
    assert page.fields["max_train_epochs"] == "16"
    page.send("fresh")
    assert page.fields["max_train_epochs"] == "16"
    assert page.typed(lora_name="cat")["kept"]


def test_new_training_empties_form_and_touches_no_run(page, draft, settings):
    run = make_run(settings.outputs, "cat", timestamp=2)
    write_cats(run.dataset, count=1)
    write_cats(draft.images.path, count=2)
    page.source = "cat"
    page.typed(lora_name="dog")
    answer = page.send("fresh")
    assert (answer["source"], page.fields["lora_name"], answer["draft"], answer["reload_images"]) == (["cat", ""], "", False, True)
    assert answer["patch"] == {"lora_name": ["dog", ""]}
    assert (draft.images.count(), draft.read_form()) == (0, None)
    assert len(list(run.dataset.glob("*.png"))) == 1


@pytest.mark.parametrize(
    "data", [None, "text", 7, [1], {}, {"kind": "dance"}, {"kind": 3, "request": "x", "source": {}}, {"request": True}]
)
def test_event_that_page_never_sends_gets_message(page, data):
    answer = to_json(page.events.respond(FormRequest.from_event(data, dict(page.fields), None)))
    assert "reload the page" in answer["message"]
    assert (answer["kind"], answer["patch"]) == ("", {})


@pytest.mark.parametrize("kind", [kind for kind in get_args(FormKind) if kind])
def test_every_response_type_belongs_to_event(page, kind):
    answer = page.send(kind)
    assert (answer["kind"], "unknown request" in answer.get("message", "")) == (kind, False)


@pytest.mark.parametrize("kind", ["restore", "typed", "model", "images", "open", "fresh", "apply_template", "save_template", "start"])
@pytest.mark.parametrize("odd", ["../..", "a" * 5000, "a\0b", "a\nb", "%2F..%2F", ".fluxgym", ""])
def test_invalid_names_in_any_event_are_handled_and_do_not_change_outputs(page, settings, tmp_path, kind, odd):
    before = sorted(tmp_path.rglob("*"))
    page.source = page.model = odd
    for draft in (odd, page.draft.id):
        data = {
            "request": 1,
            "kind": kind,
            "draft": draft,
            "source": odd,
            "model": odd,
            "slug": odd,
            "name": odd,
            "viewed": odd,
            "if_exists": odd,
        }
        answer = to_json(page.events.respond(FormRequest.from_event(data, dict(page.fields), odd)))
        is_answered = bool(answer.keys() & {"message", "notice", "errors"})
        assert is_answered == ((kind, draft) != ("open", page.draft.id))
    new = [path for path in tmp_path.rglob("*") if path not in before and path != settings.outputs]
    assert [path for path in new if settings.outputs / ".fluxgym" not in (path, *path.parents)] == []


def test_lone_surrogates_and_huge_numbers_give_valid_json(page):
    data = {"request": 2**64, "kind": "typed", "draft": page.draft.id, "source": "\ud800", "unsent": '{"values": {"lora_name": "\\ud800"}}'}
    for kind in ("typed", "restore"):
        event = FormRequest.from_event(data | {"kind": kind}, dict(page.fields) | {"vram": "\ud800"}, "")
        answer = to_json(page.events.respond(event))
        assert json.dumps(answer, ensure_ascii=False).encode()
        assert answer["request"] == 0


def test_taken_name_is_noted_below_it_with_what_start_offers(page, settings):
    make_run(settings.outputs, "cat", status="stopped")
    assert (
        page.typed(lora_name="cat")["notes"]["lora_name"]
        == "cat exists already. Start asks first: it can use the new name cat-2, or replace cat."
    )
    assert "lora_name" not in page.typed(lora_name="dog")["notes"]
    assert "lora_name" not in page.typed(lora_name="")["notes"]


def test_folder_with_zero_repeats_in_its_name_is_out_of_range(page):
    answer = page.send("images", folders=["0_cat"])
    assert answer["notice"] == "The 0 repeats in the name 0_cat are out of range: enter a number from 1 to 10,000."
    assert "num_repeats" not in answer["patch"]
