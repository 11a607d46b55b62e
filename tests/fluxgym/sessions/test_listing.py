"""The list: newest first, one damaged folder does not hide the others, the guide's examples are sessions."""

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fluxgym.contract.codes import Status
from fluxgym.errors import StorageError
from fluxgym.runs.path_checks import is_regular
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.sessions.index import SessionIndex
from fluxgym.sessions.listing import last_session, list_sessions, session_of
from tests.support.runs import make_run, record_processes

UNPRIVILEGED_UID = 65534


def write(outputs, slug, state):
    (outputs / slug).mkdir(parents=True)
    (outputs / slug / "ui_state.json").write_text(state if isinstance(state, str) else json.dumps(state))


def last(outputs, viewed=None):
    """Return the run that a page over these outputs opens with."""
    return last_session(OutputsPaths(outputs), SessionIndex(outputs), viewed)


def test_second_example_of_guide_is_listed(tmp_path):
    write(tmp_path, "cat", {"lora_name": "fluffy-cats", "max_train_epochs": 16, "timestamp": 1706140800.0})
    write(tmp_path, "dog", {"lora_name": "puppy-style", "max_train_epochs": 12, "timestamp": 1706227200.0})
    assert [(s.lora_name, s.slug, s.status) for s in list_sessions(tmp_path)] == [
        ("puppy-style", "dog", Status.STOPPED), ("fluffy-cats", "cat", Status.STOPPED),
    ]  # fmt: skip


def test_damaged_state_has_separate_row_with_remedy(tmp_path):
    write(tmp_path, "good", {"lora_name": "good", "timestamp": 1.0})
    write(tmp_path, "bad", '{"lora_name": ')
    rows = {session.slug: session for session in list_sessions(tmp_path)}
    assert rows["bad"].status is Status.UNREADABLE
    assert "restore it" in rows["bad"].reason
    assert rows["good"].status is Status.STOPPED
    assert last(tmp_path).slug == "good"


def test_hand_edited_state_with_invalid_values_is_listed(tmp_path):
    write(
        tmp_path,
        "odd",
        {"lora_name": 7, "max_train_epochs": "many", "timestamp": "yesterday", "status": ["x"], "run_id": {}, "reason": None},
    )
    (session,) = list_sessions(tmp_path)
    assert (session.lora_name, session.max_train_epochs, session.status, session.run_id) == ("7", None, Status.STOPPED, None)
    json.dumps(session.to_json())


@pytest.mark.parametrize(
    ("epochs", "shown"), [(20, 20), (20.0, 20), ("20", 20), (" 20 ", 20), (True, None), (20.5, None), (1e999, None), (10**400, None)]
)
def test_hand_edited_numbers_are_shown_as_resume_takes_them(epochs, shown, tmp_path):
    write(tmp_path, "cat", {"lora_name": "cat", "max_train_epochs": epochs, "enable_checkpointing": "yes"})
    (session,) = list_sessions(tmp_path)
    assert (session.max_train_epochs, session.checkpointing) == (shown, True)


def test_entries_that_are_not_runs_are_not_listed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / ".fluxgym").mkdir()
    assert list_sessions(tmp_path) == []
    assert list_sessions(tmp_path / "nowhere") == []


def test_progress_of_live_run_carries_remaining_time(tmp_path):
    run = make_run(tmp_path)
    lines = [
        {"phase": "training", "step": 3, "total_steps": 10, "loss": 0.5, "s_per_it": 2.0, "epoch": 1},
        {"phase": "saving", "step": 3, "total_steps": 10},
    ]
    run.progress.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (session,) = list_sessions(tmp_path)
    assert session.status is Status.STARTING
    assert session.progress["phase"] == "saving"
    assert session.progress["loss"] == 0.5
    assert session.progress["eta_s"] == 14


def test_viewed_run_comes_before_newest(tmp_path):
    make_run(tmp_path, "old", timestamp=time.time() - 100)
    make_run(tmp_path, "new")
    assert last(tmp_path).slug == "new"
    assert last(tmp_path, "old").slug == "old"
    assert last(tmp_path, "../../etc").slug == "new"
    assert last(tmp_path / "nowhere") is None


HOSTILE = [
    "null", "[]", "7", "[" * 100_000, '{"step": 1' + "0" * 400 + ', "total_steps": 3, "s_per_it": 1.5, "loss": 1}',
    '{"run_id": "id-cat", "attempt": 1, "started_at": 1, "trainer": {"pid": Infinity}, "supervisor": {"pid": 1e400}}',
    '"x"', "{}", '{"attempt": null}', "{half", "\udcff",
    '{"status": "splendid", "run_id": "id-cat", "attempt": 1, "reason_code": 7, "reason": []}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["process.json", "exit.json", "stop.json", "launch.json", "../progress.jsonl", "../training.pid"])
def test_damaged_run_file_does_not_hide_row(name, text, tmp_path):
    make_run(tmp_path, "good")
    run = make_run(tmp_path, "cat", status="running", timestamp=1.0)
    (run.private / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert [session.slug for session in list_sessions(tmp_path)] == ["good", "cat"]


def test_values_that_are_not_finite_numbers_are_left_out(tmp_path):
    run = make_run(tmp_path)
    run.progress.write_text('{"phase": "training", "step": "many", "total_steps": 10, "loss": NaN, "s_per_it": []}\n')
    (session,) = list_sessions(tmp_path)
    assert session.progress == {"phase": "training", "total_steps": 10}


def test_date_out_of_range_is_listed(tmp_path):
    write(tmp_path, "odd", '{"lora_name": "odd", "timestamp": 1' + "0" * 400 + "}")
    write(tmp_path, "good", {"lora_name": "good", "timestamp": 1.0})
    assert {session.slug for session in list_sessions(tmp_path)} == {"odd", "good"}


@pytest.fixture(name="without_root")
def fixture_without_root():
    """Give a folder whose tests run without the rights of root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    euid = os.geteuid()
    if euid == 0:
        os.chown(folder, UNPRIVILEGED_UID, -1)
        os.seteuid(UNPRIVILEGED_UID)
    yield folder
    os.seteuid(euid)
    for closed in [folder, *folder.iterdir()]:
        closed.chmod(0o755)
    shutil.rmtree(folder)


def test_folder_that_is_not_accessible_has_row(without_root):
    write(without_root, "good", {"lora_name": "good", "timestamp": 1.0})
    write(without_root, "closed", {"lora_name": "closed", "timestamp": 2.0})
    (without_root / "closed").chmod(0)
    rows = {session.slug: session for session in list_sessions(without_root)}
    assert rows["good"].status is Status.STOPPED
    assert rows["closed"].status is Status.UNREADABLE
    assert "permissions" in rows["closed"].reason
    without_root.chmod(0)
    with pytest.raises(StorageError, match="permissions"):
        list_sessions(without_root)


def test_thousands_of_runs_are_listed_with_few_reads(tmp_path, monkeypatch):
    for number in range(50):
        run = make_run(tmp_path, f"run-{number}", status="completed")
        run.progress.write_text('{"phase": "training", "step": 1, "loss": 0.5}\n' * 2000)
    parsed = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda *args, **more: parsed.append(1) or loads(*args, **more))
    assert len(list_sessions(tmp_path)) == 50
    assert len(parsed) <= 50 * 4


def test_damaged_supervisor_does_not_hide_live_trainer(tmp_path):
    run = make_run(tmp_path, status="running", timestamp=1.0)
    trainer = identify(os.getpid(), "id-cat").to_json()
    record = {"run_id": "id-cat", "attempt": 1, "started_at": 1, "trainer": trainer, "supervisor": trainer | {"pid": float("inf")}}
    run.process.write_text(json.dumps(record))
    run.training_pid.write_text(str(os.getpid()))
    (session,) = list_sessions(tmp_path)
    assert session.status is Status.RUNNING


def test_attempt_without_progress_shows_nothing_of_one_before(tmp_path):
    run = make_run(tmp_path, status="running")
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 2, me, me)
    run.training_pid.write_text(f"{os.getpid()}\n")
    line = {"time": 5.0, "attempt": 1, "phase": "saving", "step": 236, "total_steps": 320, "epoch": 24, "loss": 0.1, "s_per_it": 0.2}
    run.progress.write_text(json.dumps(line) + "\n")
    assert session_of(run).progress == {"step": 236, "total_steps": 320}


def test_row_opens_each_file_once(tmp_path, monkeypatch):
    run = make_run(tmp_path, status="running")
    run.progress.write_text('{"phase": "training", "step": 1, "loss": 0.5}\n')
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, me, replace(me, start_ticks=1))
    run.launch.write_text('{"run_id": "id-cat", "attempt": 1}')
    opened = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and listening else None)
    listening = [True]
    session_of(run)
    listening.clear()
    inside = [Path(name).name for name in opened if name.startswith(str(run.folder))]
    assert sorted(inside) == sorted(set(inside))
    assert len(inside) <= 7


def test_file_whose_folder_cannot_be_read_is_not_regular_file(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)  # root may read everything
    assert not is_regular(tmp_path / "cat" / "ui_state.json")
