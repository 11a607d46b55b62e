"""What a form shows after a reload: all images of the draft, and the run that it was filled with."""

import shutil

import pytest

from tests.support.photos import write_cats
from tests.support.runs import make_run


@pytest.mark.parametrize("is_typed", [True, False])
def test_images_added_to_those_of_a_run_are_shown_after_a_reload(page, draft, settings, is_typed):
    run = make_run(settings.outputs, "cat", timestamp=1)
    write_cats(run.dataset, count=2)
    make_run(settings.outputs, "other", timestamp=2)
    page.send("open", slug="cat", replace=True)
    if is_typed:
        page.typed(lora_name="dog")
    draft.copy_images_from(run)
    write_cats(draft.images.path, count=8)  # the page has not answered to the upload yet
    answer = page.open(viewed="other")
    assert (page.fields["lora_name"], page.source, answer["images"]) == ("dog" if is_typed else "cat", "", 8)


def test_images_added_to_an_empty_form_are_shown_after_a_reload(page, draft, settings):
    write_cats(make_run(settings.outputs, "other", timestamp=2).dataset, count=2)
    page.send("fresh")
    write_cats(draft.images.path, count=4)
    answer = page.open(viewed="other")
    assert (page.fields["lora_name"], page.source, answer["images"]) == ("", "", 4)


def test_form_of_a_run_that_was_deleted_shows_another_one(page, settings):
    make_run(settings.outputs, "cat", timestamp=1)
    page.send("open", slug="cat", replace=True)
    shutil.rmtree(settings.outputs / "cat")
    make_run(settings.outputs, "other", timestamp=2)
    page.open()
    assert page.fields["lora_name"] == "other"
