"""Leftovers that no process uses are removed at the app's start; what may still be used is kept."""

import os
import time

from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.cleanup import DRAFT_DAYS, remove_leftovers
from fluxgym.sessions.drafts import open_draft
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats

DAY_S = 86_400.0


def age(folder, days):
    """Let a folder and all in it be so old."""
    moment = time.time() - days * DAY_S
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (moment, moment))


def make(outputs, days):
    """Make a draft of so many days."""
    draft = open_draft(outputs, new_draft_id())
    write_cats(draft.images.path, count=1)
    draft.write_form({"state": {}, "source": ""})
    age(draft.folder, days)
    return draft


def test_drafts_that_were_not_changed_for_long_are_removed(tmp_path):
    forgotten, kept, edited = make(tmp_path, DRAFT_DAYS + 1), make(tmp_path, DRAFT_DAYS - 1), make(tmp_path, DRAFT_DAYS + 1)
    edited.images.set_caption("cat 0.png", "still at it")
    remove_leftovers(tmp_path)
    assert not forgotten.folder.exists()
    assert kept.images.count() == edited.images.count() == 1


def test_leftovers_of_killed_start_import_or_export_are_removed(tmp_path):
    new = OutputsPaths(tmp_path).new
    (new / "import-1" / "cat").mkdir(parents=True)
    (new / "export-2").write_bytes(b"half")
    age(new, 5)
    (new / "cat-3").mkdir()
    remove_leftovers(tmp_path)
    assert [path.name for path in new.iterdir()] == ["cat-3"]


def test_links_and_undeletable_entries_are_skipped(tmp_path):
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    new = OutputsPaths(tmp_path / "outputs").new
    new.mkdir(parents=True)
    (new / "link").symlink_to(elsewhere)
    os.utime(new / "link", (1, 1), follow_symlinks=False)
    age(elsewhere, 500)
    remove_leftovers(tmp_path / "outputs")
    assert elsewhere.is_dir()
    remove_leftovers(tmp_path / "none")


def test_interrupted_uploads_are_removed_after_an_hour(tmp_path):
    draft = make(tmp_path, 0)
    for name in (".upload-old", ".upload-new"):
        (draft.folder / name).write_bytes(b"half")
    moment = time.time() - 3700
    os.utime(draft.folder / ".upload-old", (moment, moment))
    remove_leftovers(tmp_path)
    assert [path.name for path in draft.folder.glob(".upload-*")] == [".upload-new"]
    assert draft.images.count() == 1
