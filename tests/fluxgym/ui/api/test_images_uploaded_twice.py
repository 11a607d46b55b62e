"""An upload replaces no image: the same content is not added again, another one gets the next free name, and Undo takes back what got in the way."""

from urllib.parse import quote

import pytest
from PIL import Image

from fluxgym.sessions.drafts import open_draft
from fluxgym.ui.api.files import FileRoutes
from fluxgym.ui.api.images import ImageRoutes
from tests.support.api import BASE_URL, error, router_client, value
from tests.support.drafts import new_draft_id
from tests.support.small_installation import small_installation

EDIT = "0123456789abcdef"


@pytest.fixture
def settings(tmp_path):
    """Return folders of this test."""
    return small_installation(tmp_path)


@pytest.fixture
def client(settings):
    """Return a client of the routes."""
    return router_client([FileRoutes(settings).router, ImageRoutes(settings).router])


@pytest.fixture
def draft(settings):
    """Return a draft without images."""
    return open_draft(settings.outputs, new_draft_id())


@pytest.fixture
def put(client, draft):
    """Return a function that uploads a file to the draft and returns the answer."""

    def send(name, content, **query):
        return value(client.put(f"{BASE_URL}/fluxgym/drafts/{draft.id}/images/{quote(name)}", content=content, params=query))

    return send


def image(tmp_path, color, ending="png"):
    """Return the bytes of an image of one color."""
    path = tmp_path / f"new.{ending}"
    Image.new("RGB", (40, 30), color).save(path)
    return path.read_bytes()


def files(draft):
    """Return the bytes of the draft's files by name."""
    return {path.name: path.read_bytes() for path in draft.images.path.iterdir()}


def test_image_of_the_same_name_and_other_content_is_kept_beside_the_earlier_one(put, draft, tmp_path):
    red, blue, green = (image(tmp_path, color) for color in ("red", "blue", "green"))
    assert put("cat.png", red) == {"source": "", "name": "cat.png", "outcome": "added", "undo": ""}
    answer = put("cat.png", blue, edit=EDIT)
    assert answer == {"source": "", "name": "cat-2.png", "outcome": "renamed", "undo": EDIT}
    assert put("cat.png", green)["name"] == "cat-3.png"
    assert files(draft) == {"cat.png": red, "cat-2.png": blue, "cat-3.png": green}


def test_image_that_is_there_already_is_not_added_again(put, draft, tmp_path):
    red, blue = image(tmp_path, "red"), image(tmp_path, "blue")
    for content in (red, blue):
        put("cat.png", content)
    assert put("cat.png", red) == {"source": "", "name": "cat.png", "outcome": "present", "undo": ""}
    assert put("cat.png", blue)["name"] == "cat-2.png"  # under the name that it got
    assert put("cat.jpg", blue)["name"] == "cat-2.png"  # and by its content, whatever its ending
    assert files(draft) == {"cat.png": red, "cat-2.png": blue}


def test_names_that_differ_in_case_only_are_kept_apart(put, draft, tmp_path):
    red, blue = image(tmp_path, "red"), image(tmp_path, "blue")
    put("cat.png", red)
    assert put("Cat.png", blue)["name"] == "Cat-2.png"  # macOS and Windows have one file for both
    assert set(files(draft)) == {"cat.png", "Cat-2.png"}


def test_undo_removes_the_added_image_with_its_caption_and_nothing_else(client, put, draft, tmp_path):
    put("cat.png", image(tmp_path, "red"))
    put("cat.txt", b"sks cat")
    before = files(draft)
    put("cat.png", image(tmp_path, "blue"), edit=EDIT)
    put("cat-2.txt", b"sks cat, blue", edit=EDIT)
    put("dog.png", image(tmp_path, "green"), edit=EDIT)
    value(client.post(f"drafts/{draft.id}/undo", json={"token": EDIT}))
    assert files(draft) == before | {"dog.png": image(tmp_path, "green")}


def test_uploaded_caption_replaces_the_earlier_one_and_undo_brings_it_back(client, put, draft, tmp_path):
    put("cat.png", image(tmp_path, "red"))
    put("cat.txt", b"first")
    assert put("cat.txt", b"first") == {"source": "", "name": "cat.txt", "outcome": "present", "undo": ""}
    assert put("cat.txt", b"second", edit=EDIT) == {"source": "", "name": "cat.txt", "outcome": "replaced", "undo": EDIT}
    assert put("cat.txt", b"third", edit=EDIT)["outcome"] == "replaced"  # of the same drop
    assert draft.images.caption("cat.png") == "third"
    value(client.post(f"drafts/{draft.id}/undo", json={"token": EDIT}))
    assert files(draft)["cat.txt"] == b"first"


def test_undo_leaves_what_was_changed_since(client, put, draft, tmp_path):
    put("cat.png", image(tmp_path, "red"))
    put("cat.txt", b"first")
    put("cat.png", image(tmp_path, "blue"), edit=EDIT)
    put("cat.txt", b"second", edit=EDIT)
    draft.images.set_caption("cat.png", "typed since")
    (draft.images.path / "cat-2.png").write_bytes(image(tmp_path, "green"))
    value(client.post(f"drafts/{draft.id}/undo", json={"token": EDIT}))
    assert draft.images.caption("cat.png") == "typed since"
    assert files(draft)["cat-2.png"] == image(tmp_path, "green")


@pytest.mark.parametrize("token", ["../../../x", "x" * 16, "0123456789ABCDEF"])
def test_edit_that_no_page_makes_is_refused(client, draft, token, tmp_path):
    address = f"{BASE_URL}/fluxgym/drafts/{draft.id}/images/cat.png"
    assert "reload the page" in error(client.put(address, content=image(tmp_path, "red"), params={"edit": token}), 400)
    assert not draft.images.path.exists()


def test_undo_leaves_captions_that_the_drop_did_not_bring(client, put, draft, tmp_path):
    put("cat.png", image(tmp_path, "red"))
    put("cat.png", image(tmp_path, "blue"), edit=EDIT)
    put("cat.png", image(tmp_path, "green"), edit=EDIT)
    put("cat-3.txt", b"of the drop", edit=EDIT)
    draft.images.set_caption("cat-2.png", "typed since")
    draft.images.set_caption("cat-3.png", "changed since")
    value(client.post(f"drafts/{draft.id}/undo", json={"token": EDIT}))
    assert files(draft) == {"cat.png": image(tmp_path, "red"), "cat-2.txt": b"typed since\n", "cat-3.txt": b"changed since\n"}


def test_undo_removes_a_new_caption_that_the_drop_itself_replaced(client, put, draft, tmp_path):
    put("cat.png", image(tmp_path, "red"))
    before = files(draft)
    put("cat.png", image(tmp_path, "blue"), edit=EDIT)
    put("cat-2.txt", b"first", edit=EDIT)
    put("cat-2.txt", b"second", edit=EDIT)
    value(client.post(f"drafts/{draft.id}/undo", json={"token": EDIT}))
    assert files(draft) == before


def test_renamed_image_takes_no_caption_of_another_image(put, draft, tmp_path):
    put("a-2.txt", b"of another image")
    put("a-3.png.txt", b"of another one")
    put("a.png", image(tmp_path, "red"))
    name = put("a.png", image(tmp_path, "blue"))["name"]
    assert (name, draft.images.caption(name)) == ("a-4.png", "")
    assert put("a-2.png", image(tmp_path, "green"))["name"] == "a-2.png"  # the one that the caption waits for


@pytest.mark.parametrize("follower", [False, True])
def test_undo_of_a_replaced_caption_whose_image_was_removed_keeps_the_earlier_text(client, put, draft, tmp_path, follower):
    put("cat.png", image(tmp_path, "red"))
    put("cat.txt", b"first")
    put("cat.txt", b"second", edit=EDIT)
    value(client.delete(f"drafts/{draft.id}/images/cat.png"))
    if follower:
        put("cat.png", image(tmp_path, "blue"))
    value(client.post(f"drafts/{draft.id}/undo", json={"token": EDIT}))
    assert files(draft)["cat-2.txt" if follower else "cat.txt"] == b"first"
    assert not follower or draft.images.caption("cat.png") == ""
