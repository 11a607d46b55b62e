"""The gallery's data set: by page, captions on disk at once, a run's own images never touched."""

import json
import tracemalloc
from contextlib import contextmanager

import pytest

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.drafts import open_draft
from fluxgym.ui.api.images import PAGE, ImageRoutes
from tests.support.api import error, router_client, value
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation


@contextmanager
def traced_peak():
    """Yield a function that returns the most memory that Python used at a time so far, in bytes."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the routes."""
    return router_client([ImageRoutes(settings).router])


@pytest.fixture
def draft(settings):
    """Return a draft with four images."""
    draft = open_draft(settings.outputs, new_draft_id())
    write_cats(draft.images.path, count=4)
    return draft


@pytest.fixture
def empty(settings):
    """Return a draft without images."""
    return open_draft(settings.outputs, new_draft_id())


def counts(answer):
    """Return an answer without what belongs to Undo."""
    return {name: part for name, part in answer.items() if name not in ("undo", "changed")}


def test_images_are_paginated(client, draft):
    answer = value(client.get(f"drafts/{draft.id}/images", params={"offset": 1, "limit": 2}))
    assert [item["name"] for item in answer["items"]] == ["cat 1.png", "cat 2.png"]
    assert (answer["source"], answer["count"], answer["captioned"]) == ("", 4, 4)
    assert answer["items"][0]["thumb"].startswith(f"drafts/{draft.id}/images/cat%201.png?v=")
    assert answer["items"][0]["caption"] == "sks cat, crop 1"


def test_version_of_image_changes_with_its_file(client, draft):
    (before, *_) = value(client.get(f"drafts/{draft.id}/images"))["items"]
    (draft.images.path / "cat 0.png").write_bytes((draft.images.path / "cat 1.png").read_bytes())
    (after, *others) = value(client.get(f"drafts/{draft.id}/images"))["items"]
    assert before["version"] != after["version"]
    assert after["thumb"].endswith(f"?v={after['version']}")
    assert others == value(client.get(f"drafts/{draft.id}/images", params={"offset": 1}))["items"]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": PAGE + 1}, {"offset": -1}, {"limit": "x"}])
def test_page_beyond_limits_is_refused(client, draft, query):
    assert "reload" in error(client.get(f"drafts/{draft.id}/images", params=query), 400)


def test_caption_is_on_disk_before_response(client, draft):
    answer = value(client.patch(f"drafts/{draft.id}/images/cat 1.png", json={"caption": 'a "quoted" cat'}))
    assert counts(answer) == {"source": "", "count": 4, "captioned": 4}
    assert (draft.images.path / "cat 1.txt").read_text() == 'a "quoted" cat\n'
    assert value(client.patch(f"drafts/{draft.id}/images/cat 1.png", json={"caption": " "}))["captioned"] == 3


@pytest.mark.parametrize("body", [{}, {"caption": None}, {"caption": 3}, [], None, {"text": "x"}])
def test_caption_of_wrong_form_is_refused_and_changes_nothing(client, draft, body):
    assert "reload" in error(client.patch(f"drafts/{draft.id}/images/cat 1.png", json=body), 400)
    assert draft.images.caption("cat 1.png") == "sks cat, crop 1"


def test_editing_runs_image_copies_data_set_and_leaves_run_alone(client, settings, empty):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    shown = value(client.get(f"drafts/{empty.id}/images", params={"source": "cat"}))
    assert (shown["source"], shown["items"][0]["thumb"][:16]) == ("cat", "runs/cat/images/")
    edited = client.patch(f"drafts/{empty.id}/images/cat 0.png", params={"source": "cat"}, json={"caption": "mine"})
    assert value(edited)["source"] == ""
    assert counts(value(client.delete(f"drafts/{empty.id}/images/cat 1.png"))) == {"source": "", "count": 1, "captioned": 1}
    assert empty.images.names() == ["cat 0.png"]
    assert empty.images.caption("cat 0.png") == "mine"
    assert (run.dataset / "cat 0.txt").read_text() == "sks cat, crop 0"
    assert (run.dataset / "cat 1.png").exists()


def test_another_runs_images_never_mix_with_those_of_draft_nor_replace_them(client, settings, draft):
    run = make_run(settings.outputs, "dog")
    write_cats(run.dataset, count=1)
    base, dog = f"drafts/{draft.id}", {"source": "dog"}
    for response in (
        client.patch(f"{base}/images/cat 0.png", params=dog, json={"caption": "x"}),
        client.delete(f"{base}/images/cat 0.png", params=dog),
    ):
        assert "4 images that were not started" in error(response, 400)
    assert value(client.delete(f"{base}/images", params=dog))["source"] == ""  # what was uploaded in another tab is shown now
    assert value(client.get(f"{base}/unsaved")) == {"typed": False, "images": 4}
    assert draft.images.caption("cat 0.png") == "sks cat, crop 0"


def test_two_tabs_that_edit_one_runs_images_edit_one_copy(client, settings, empty):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    for name in ("cat 0.png", "cat 1.png"):
        value(client.patch(f"drafts/{empty.id}/images/{name}", params={"source": "cat"}, json={"caption": f"mine, {name}"}))
    assert [item.caption for item in empty.images.items()] == ["mine, cat 0.png", "mine, cat 1.png"]


def test_caption_in_another_encoding_can_be_typed_again(client, settings, empty):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    (run.dataset / "cat 1.txt").write_bytes("Kätzchen".encode("cp1252"))
    client.patch(f"drafts/{empty.id}/images/cat 0.png", params={"source": "cat"}, json={"caption": "x"}).raise_for_status()
    assert (empty.images.path / "cat 1.txt").read_bytes() == "Kätzchen".encode("cp1252")
    client.patch(f"drafts/{empty.id}/images/cat 1.png", json={"caption": "ein Kätzchen"}).raise_for_status()
    assert empty.images.caption("cat 1.png") == "ein Kätzchen"


def test_failed_copy_leaves_no_partial_files(client, settings, empty):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    (run.dataset / "cat 1.txt").unlink()
    (run.dataset / "cat 1.txt").symlink_to("cat 0.txt")
    edited = client.patch(f"drafts/{empty.id}/images/cat 0.png", params={"source": "cat"}, json={"caption": "x"})
    assert "it is a link" in error(edited, 400)
    assert empty.images.names() == []
    assert [path.name for path in empty.folder.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(("method", "route", "body"), [
    ("PATCH", "images/gone.png", {"caption": "x"}), ("PATCH", "images/cat 0.png", {"caption": "x" * 20_001}),
    ("PATCH", "images/cat 0.png", {"caption": "\ud800"}), ("DELETE", "images/gone.png", None), ("POST", "remove", {"names": ["gone.png"]}),
    ("POST", "add-text", {"names": ["cat 0.png"], "text": "a\0b"}), ("PATCH", "images/cat 0.png", {"caption": "a\x1bb"}),
    ("POST", "add-text", {"names": ["cat 0.png"], "text": "x" * 20_001}), ("POST", "add-text", {"names": ["cat 0.png"], "text": " "}),
    ("POST", "replace", {"names": ["cat 0.png"], "find": "sks", "text": "x" * 20_001}), ("POST", "replace", {"names": [], "find": "", "text": "x"}),
])  # fmt: skip
def test_refused_edit_of_runs_images_copies_nothing(client, settings, empty, method, route, body):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    response = client.request(
        method,
        f"drafts/{empty.id}/{route}",
        params={"source": "cat"},
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert error(response, 400)
    assert empty.is_empty()


def test_edit_that_changes_no_caption_copies_nothing(client, settings, empty):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    body = {"names": ["cat 0.png", "gone.png"], "find": "a dog", "text": "x"}
    answer = value(client.post(f"drafts/{empty.id}/replace", params={"source": "cat"}, json=body))
    assert (answer["source"], answer["count"], answer["changed"], answer["undo"]) == ("cat", 2, 0, "")
    assert empty.is_empty()


def test_example_copies_nothing_when_there_are_images_already(client, settings, empty):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    assert "already" in error(client.post(f"drafts/{empty.id}/example", params={"source": "cat"}), 400)
    assert empty.images.count() == 0


def test_clearing_removes_images_from_form_only(client, settings):
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=2)
    cleared = value(client.delete(f"drafts/{new_draft_id()}/images", params={"source": "cat"}))
    assert counts(cleared) == {"source": "", "count": 0, "captioned": 0}
    assert len(list(OutputsPaths(settings.outputs).run("cat").dataset.iterdir())) == 4


def test_example_images_are_added_by_one_request(client, settings, empty):
    make_run(settings.outputs, "example-cat")
    answer = value(client.post(f"drafts/{empty.id}/example"))
    assert answer == {"source": "", "name": "example-cat-2", "trigger": "sks cat"}
    assert empty.images.count() == 8
    assert all(item.caption.startswith("sks cat") for item in empty.images.items())


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [*((path, 404, "unknown request") for path in ("..%2Fcat 0.png", "%2Fetc%2Fpasswd")),
     *((name, 400, "no image") for name in ("cat 0.txt", "dog.png", "a%00.png", "a%0A.png", "x" * 5000, "%FF.png"))],
)  # fmt: skip
def test_name_that_is_not_image_of_data_set_is_refused(client, draft, name, status, message):
    for response in (
        client.patch(f"drafts/{draft.id}/images/{name}", json={"caption": "x"}),
        client.delete(f"drafts/{draft.id}/images/{name}"),
    ):
        assert message in error(response, status)
    assert draft.images.count() == 4


@pytest.mark.parametrize("source", ["../..", ".fluxgym", "a/b", "a\0b", "x" * 5000, "..", "."])
def test_source_cannot_leave_outputs(client, draft, source):
    base, query = f"drafts/{draft.id}", {"source": source}
    for response in (
        client.get(f"{base}/images", params=query), client.post(f"{base}/example", params=query),
        client.delete(f"{base}/images", params=query), client.delete(f"{base}/images/cat 0.png", params=query),
        client.patch(f"{base}/images/cat 0.png", params=query, json={"caption": "x"}),
    ):  # fmt: skip
        assert error(response, 404)
    assert draft.images.count() == 4


@pytest.mark.parametrize("source", ["gone", "a\nb", "%2F", "<b>"])
def test_source_that_was_removed_has_no_images(client, settings, draft, source):
    answer = value(client.get(f"drafts/{draft.id}/images", params={"source": source}))
    assert answer == {"source": source, "items": [], "count": 0, "captioned": 0, "shown": 0, "no_trigger": 0}
    assert not (settings.outputs / source).exists()


@pytest.mark.parametrize("draft_id", ["..", "..%2Fx", "mine", "%00", "A" * 32, "x" * 5000, "%0A"])
def test_draft_without_id_is_refused(client, draft_id):
    for response in (
        client.get(f"drafts/{draft_id}/images"),
        client.get(f"drafts/{draft_id}/unsaved"),
    ):
        assert "reload the page" in error(response, 404)


def names_of(client, draft, **query):
    """Return the names of the images that a search and a filter leave."""
    page = value(client.get(f"drafts/{draft.id}/images", params=query))
    names = [item["name"] for item in page["items"]]
    assert value(client.get(f"drafts/{draft.id}/names", params=query))["names"] == names
    assert page["shown"] == len(names)
    return names


def test_images_are_found_by_name_and_caption(client, draft):
    draft.images.set_caption("cat 2.png", "Asleep on a SOFA")
    assert names_of(client, draft, search="sofa") == ["cat 2.png"]
    assert names_of(client, draft, search="CAT 3") == ["cat 3.png"]
    assert names_of(client, draft, search="nothing") == []


def test_images_are_filtered_by_what_their_captions_lack(client, draft):
    draft.images.set_caption("cat 1.png", "")
    draft.images.set_caption("cat 2.png", "a face")
    assert names_of(client, draft, filter="no_caption") == ["cat 1.png"]
    assert names_of(client, draft, filter="no_trigger", trigger="SKS cat") == ["cat 2.png"]
    assert names_of(client, draft, filter="no_trigger", trigger=" ") == []
    page = value(client.get(f"drafts/{draft.id}/images", params={"trigger": "sks cat", "limit": 1}))
    assert (page["count"], page["captioned"], page["no_trigger"], page["shown"]) == (4, 3, 1, 4)


def test_several_images_are_removed_and_put_back(client, draft):
    base = f"drafts/{draft.id}"
    answer = value(client.post(f"{base}/remove", json={"names": ["cat 0.png", "cat 3.png", "../x.png"]}))
    assert counts(answer) == {"source": "", "count": 2, "captioned": 2}
    assert value(client.post(f"{base}/undo", json={"token": answer["undo"]}))["count"] == 4
    assert draft.images.caption("cat 3.png") == "sks cat, crop 3"
    assert "no longer" in error(client.post(f"{base}/undo", json={"token": answer["undo"]}), 400)


@pytest.mark.parametrize(("at", "caption"), [("start", "big, sks cat, crop 1"), ("end", "sks cat, crop 1, big")])
def test_text_is_added_to_captions_and_taken_back(client, draft, at, caption):
    draft.images.set_caption("cat 2.png", "")
    base = f"drafts/{draft.id}"
    answer = value(client.post(f"{base}/add-text", json={"names": ["cat 1.png", "cat 2.png", "gone.png"], "text": " big ", "at": at}))
    assert answer["changed"] == 2
    assert (draft.images.caption("cat 1.png"), draft.images.caption("cat 2.png")) == (caption, "big")
    value(client.post(f"{base}/undo", json={"token": answer["undo"]}))
    assert (draft.images.caption("cat 1.png"), draft.images.caption("cat 2.png")) == ("sks cat, crop 1", "")


def test_text_is_replaced_in_captions(client, draft):
    base = f"drafts/{draft.id}"
    answer = value(client.post(f"{base}/replace", json={"names": ["cat 0.png", "cat 1.png"], "find": "crop 1", "text": "a nose"}))
    assert answer["changed"] == 1
    assert draft.images.caption("cat 1.png") == "sks cat, a nose"


def test_text_that_would_be_too_long_is_refused_before_it_is_built(client, draft):
    draft.images.set_caption("cat 0.png", "a" * 2000)
    with traced_peak() as peak:
        answer = client.post(f"drafts/{draft.id}/replace", json={"names": ["cat 0.png"], "find": "a", "text": "x" * 19_000})
        assert peak() < 10_000_000
    assert "longer than 20000 characters" in error(answer, 400)
    assert draft.images.caption("cat 0.png") == "a" * 2000


@pytest.mark.parametrize(("route", "body"), [
    ("add-text", {"names": [], "text": " "}), ("replace", {"names": [], "find": "", "text": "x"}), ("add-text", {"names": [], "text": "x", "at": "x"}),
    ("remove", {"names": "all"}), ("undo", {"token": "../x"}), ("undo", {}),
])  # fmt: skip
def test_edit_of_wrong_form_is_refused(client, draft, route, body):
    assert error(client.post(f"drafts/{draft.id}/{route}", json=body), 400)
