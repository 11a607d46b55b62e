"""The gallery's data set: by page, captions on disk at once, a run's own images never touched."""

import pytest

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.drafts import open_draft
from fluxgym.ui.api.images import ImageHandlers
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_world import small_world


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_world(tmp_path)


@pytest.fixture
def draft(settings):
    """Return a draft with four images."""
    draft = open_draft(settings.outputs, new_draft_id())
    write_cats(draft.images.path, count=4)
    return draft


def test_a_page_of_images(settings, draft):
    answer = ImageHandlers(settings).images({"draft": draft.id, "source": "", "offset": 1, "limit": 2})
    assert [item["name"] for item in answer["items"]] == ["cat 1.png", "cat 2.png"]
    assert (answer["count"], answer["captioned"]) == (4, 4)
    assert answer["items"][0]["thumb"].startswith(f"drafts/{draft.id}/images/cat%201.png?v=")


def test_a_caption_is_on_disk_when_the_answer_comes(settings, draft):
    answer = ImageHandlers(settings).caption({"draft": draft.id, "source": "", "name": "cat 1.png", "text": 'a "quoted" cat'})
    assert answer == {"source": "", "count": 4, "captioned": 4}
    assert (draft.images.path / "cat 1.txt").read_text() == 'a "quoted" cat\n'


def test_editing_a_runs_image_copies_the_data_set_and_leaves_the_run_alone(settings):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    draft = open_draft(settings.outputs, new_draft_id())
    handlers = ImageHandlers(settings)
    assert handlers.images({"draft": draft.id, "source": "cat", "limit": 9})["items"][0]["thumb"].startswith("runs/cat/images/")
    assert handlers.caption({"draft": draft.id, "source": "cat", "name": "cat 0.png", "text": "mine"})["source"] == ""
    assert handlers.remove({"draft": draft.id, "source": "", "name": "cat 1.png"}) == {"source": ""}
    assert draft.images.names() == ["cat 0.png"]
    assert draft.images.caption("cat 0.png") == "mine"
    assert (run.dataset / "cat 0.txt").read_text() == "sks cat, crop 0"
    assert (run.dataset / "cat 1.png").exists()


def test_another_runs_images_never_mix_with_those_of_the_draft_nor_replace_them(settings, draft):
    run = make_run(settings.outputs, "dog")
    write_cats(run.dataset, count=1)
    message = {"draft": draft.id, "source": "dog", "name": "cat 0.png", "text": "x"}
    handlers = ImageHandlers(settings)
    for ask in (handlers.prepare, handlers.caption, handlers.remove):
        assert "4 images that were not started" in ask(message)["error"]
    assert handlers.clear(message)["source"] == ""  # what was uploaded in another tab is shown now
    assert handlers.unsaved_changes(message) == {"typed": False, "images": 4}
    assert draft.images.caption("cat 0.png") == "sks cat, crop 0"
    assert handlers.prepare({"draft": draft.id, "source": ""}) == {"source": ""}


def test_two_tabs_that_edit_one_runs_images_edit_one_copy(settings):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    draft = open_draft(settings.outputs, new_draft_id())
    for name in ("cat 0.png", "cat 1.png"):
        ImageHandlers(settings).caption({"draft": draft.id, "source": "cat", "name": name, "text": f"mine, {name}"})
    assert [item.caption for item in draft.images.items()] == ["mine, cat 0.png", "mine, cat 1.png"]


def test_a_copy_that_fails_leaves_no_half_of_it(settings):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    (run.dataset / "cat 1.txt").write_bytes(b"\xff\xfe")
    draft = open_draft(settings.outputs, new_draft_id())
    assert "UTF-8" in ImageHandlers(settings).prepare({"draft": draft.id, "source": "cat"})["error"]
    assert draft.images.names() == []
    assert [path.name for path in draft.folder.iterdir() if path.is_dir()] == []


def test_the_example_copies_nothing_when_there_are_images_already(settings):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    draft = open_draft(settings.outputs, new_draft_id())
    assert "already" in ImageHandlers(settings).example({"draft": draft.id, "source": "cat"})["error"]
    assert draft.images.count() == 0


def test_clearing_takes_them_out_of_the_form_only(settings):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    draft_id = new_draft_id()
    assert ImageHandlers(settings).clear({"draft": draft_id, "source": "cat"}) == {"source": ""}
    assert len(list(OutputsPaths(settings.outputs).run("cat").dataset.iterdir())) == 4


def test_the_example_comes_at_one_click(settings):
    draft = open_draft(settings.outputs, new_draft_id())
    make_run(settings.outputs, "example-cat")
    answer = ImageHandlers(settings).example({"draft": draft.id, "source": ""})
    assert (answer["name"], answer["trigger"]) == ("example-cat-2", "sks cat")
    assert draft.images.count() == 8
    assert all(item.caption.startswith("sks cat") for item in draft.images.items())


@pytest.mark.parametrize("name", ["../cat 0.png", "/etc/passwd", "cat 0.txt", "", "dog.png"])
def test_a_name_that_is_not_an_image_of_the_data_set_is_refused(settings, draft, name):
    assert "no image" in ImageHandlers(settings).caption({"draft": draft.id, "source": "", "name": name, "text": "x"})["error"]
    assert "no image" in ImageHandlers(settings).remove({"draft": draft.id, "source": "", "name": name})["error"]


@pytest.mark.parametrize("source", ["../..", ".fluxgym", "a/b"])
def test_a_source_cannot_leave_outputs(settings, draft, source):
    assert "error" in ImageHandlers(settings).images({"draft": draft.id, "source": source, "limit": 9})


def test_a_draft_without_an_id_is_refused(settings):
    assert "reload" in ImageHandlers(settings).prepare({"draft": "../x", "source": ""})["error"]
