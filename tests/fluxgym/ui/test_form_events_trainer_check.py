"""The trainer's check of settings that only it can check: an edit does not wait for it, the event `check` and Start do."""

from fluxgym.trainers.trainer_verdicts import CHECK_SCRIPT
from tests.support.photos import write_cats


def refusing_trainer(settings):
    """Let the trainer's check refuse everything that only it can check."""
    script = settings.sd_scripts / CHECK_SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text("import json\nprint(json.dumps({'error': '--optimizer_type nosuch is not an optimizer.', 'unchecked': []}))")


def test_edit_does_not_wait_for_trainer_and_event_check_does(page, draft, settings):
    refusing_trainer(settings)
    write_cats(draft.images.path, count=1)
    answer = page.typed(lora_name="cat", other_flags="optimizer_type = nosuch")
    assert (answer["errors"], answer["checking"]) == ({}, True)
    answer = page.send("check")
    assert (list(answer["errors"]), answer["checking"]) == (["other_flags"], False)
    assert "draft" not in answer
    assert page.typed()["checking"] is False


def test_start_always_runs_trainer_check(page, draft, settings):
    refusing_trainer(settings)
    write_cats(draft.images.path, count=1)
    page.typed(lora_name="cat", other_flags="optimizer_type = nosuch")
    assert page.send("start")["errors"] == {"other_flags": "optimizer_type nosuch is not an optimizer."}
