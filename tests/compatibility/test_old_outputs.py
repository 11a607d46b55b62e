"""Outputs of the old code, in the current code: listed as they ended; history, templates and queue read; copied, exported, removed.

Only the command line is used, so that no move of a module changes this file. `recorded/outputs.json` holds what the old code returned.
"""

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.compatibility.old_version import HERE, OUTPUTS, unpack_outputs

RECORDED = json.loads((HERE / "recorded" / "outputs.json").read_text(encoding="utf-8"))
OTHER_HOST = {"queued-cat", "interrupted-cat"}  # their reasons are made at each look, and so are words that may change


@pytest.fixture(name="old")
def fixture_old(tmp_path):
    return unpack_outputs(tmp_path)


def test_archive_names_no_machine():
    with tarfile.open(OUTPUTS) as archive:
        for member in archive.getmembers():
            data = archive.extractfile(member).read() if member.isfile() and not member.name.endswith(".png") else b""
            assert not any(root in data for root in (b"/work", b"/tmp/", b"/home/", b"/root")), member.name
            assert (member.uname, member.gname, member.uid) == ("", "", 0)


def test_old_runs_are_listed_as_before(old):
    rows = old.sessions()
    expected = {row["slug"]: row for row in RECORDED["sessions"]}
    assert list(rows) == list(expected)  # newest first
    for slug, row in expected.items():
        row["folder"] = row["folder"].replace("@OUTPUTS@", str(old.outputs))
        if slug in OTHER_HOST:
            assert rows[slug].pop("reason")
            row.pop("reason")
        assert rows[slug] | row == rows[slug]  # the current code may add keys


def test_history_templates_and_queue_are_read(old):
    for slug, text in RECORDED["history"].items():
        printed = old.run("history", slug)
        for line in text.splitlines():
            if line.strip() != 'resume_from_checkpoint: "" → not set':  # the old version showed it as a difference
                assert line.split("  kept ")[0].strip() in printed
    assert old.run("template", "list") == RECORDED["template"]["list"]
    assert json.loads(old.run("template", "apply", "Cats of mine", "New Cat")) == RECORDED["template"]["apply"]
    assert old.run("queue").startswith("1. queued-cat: ")
    printed = old.run("history", "replaced-cat", "--diff", "29b9dd61ae888f97-1", "now").splitlines()
    assert printed == ["max_train_epochs: 1 → 2", "seed: 42 → 43", "network_dim: 1 → 2"]
    old.run("history", "copied-cat", "--restore", "24c684180235061b-1")
    assert json.loads((old.outputs / "copied-cat" / "ui_state.json").read_text(encoding="utf-8"))["resume_from_checkpoint"] == ""


def test_runs_are_duplicated_exported_imported_forgotten_and_deleted(old, tmp_path):
    old.run("duplicate", "stopped-cat", "Second Cat")
    copy = json.loads((old.outputs / "second-cat" / "ui_state.json").read_text(encoding="utf-8"))
    assert copy["parent"] == {"slug": "stopped-cat", "run_id": old.sessions()["stopped-cat"]["run_id"]}
    assert copy["advanced"]["ema_decay"] == 0.9
    assert len(list((old.outputs / "second-cat" / "dataset").glob("*.png"))) == 4
    old.run("export", "done-cat", tmp_path / "done.zip", "--with-pictures", "--with-lora")
    with zipfile.ZipFile(tmp_path / "done.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"ui_state.json", "cat 0.png", "cat 0.txt", "done-cat.safetensors"} <= names
    old.run("import", tmp_path / "done.zip")
    old.run("forget", "failed-cat")
    old.run("delete", "copied-cat", "--yes")
    rows = old.sessions()
    assert {"second-cat", "done-cat-3"} <= rows.keys()
    assert not {"failed-cat", "copied-cat"} & rows.keys()


def test_queued_run_of_another_start_is_canceled(old):
    old.run("queue", "cancel", "queued-cat")
    row = old.sessions()["queued-cat"]
    assert (row["status"], row["reason_code"]) == ("stopped", "user")
    assert not (old.outputs / ".fluxgym" / "queue" / "queued-cat.json").exists()
