"""History: every start and resume keeps the earlier settings; any version can be read, compared and restored."""

import json
import os
import re
import threading
import time

import pytest

from fluxgym.errors import AlreadyRunning, ConfigError, SessionNotFound
from fluxgym.runs.atomic_files import write_json
from fluxgym.runs.locks import file_lock
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.state import read_state, update_state
from fluxgym.sessions.history import diff, find_version, restore, save_version, versions
from tests.support.runs import make_run, record_processes


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path, status="stopped", max_train_epochs=4, learning_rate="8e-4", timestamp=1.0)


def test_versions_are_kept_in_order_and_never_overwrite_each_other(run):
    for epochs in (8, 16):
        save_version(run)
        update_state(run, {"max_train_epochs": epochs})
    assert [version.state["max_train_epochs"] for version in versions(run)] == [8, 4]
    assert len({version.id for version in versions(run)}) == 2
    (run.history / "damaged.json").write_text("{")
    odd = {
        "odd": '{"kept_at": 1, "state": 3}',
        "nan": '{"kept_at": NaN, "state": {}}',
        "late": '{"kept_at": 1e300, "state": {}}',
        "list": "[]",
    }
    for name, text in odd.items():
        (run.history / f"{name}.json").write_text(text)
    (run.history / "folder.json").mkdir()
    assert len(versions(run)) == 2
    assert not list(run.folder.rglob("history/ui_state.json"))  # the guide counts files of this name


@pytest.mark.parametrize("run_id", ["../../x", "a\0b", "a" * 400, "\ud800", "\n", {"a": 1}, ".", None, "ui_state"])
def test_invalid_run_id_gives_separate_file(run, run_id):
    run.ui_state.write_text(json.dumps({"run_id": run_id, "note": "\ud800"}))
    save_version(run)
    (version,) = versions(run)
    assert version.state["run_id"] == ("?" if run_id == "\ud800" else run_id)  # half a letter cannot be shown to anyone
    assert find_version(run, version.id).state["note"] == "?"
    assert [path.name for path in run.history.iterdir()] == [f"{version.id}.json"]
    assert re.fullmatch(r"[\w-]{1,70}", version.id, re.ASCII)
    assert version.id != "ui_state"


def test_diff_contains_settings_only():
    before = {"lora_name": "a", "max_train_epochs": 16, "status": "running", "advanced": {"train_batch_size": 2}, "concept_sentence": "x"}
    after = {"lora_name": "a", "max_train_epochs": 20, "status": "stopped", "advanced": {"network_alpha": 4.0}, "concept_sentence": "x\ny"}
    assert diff(before, after) == [
        'concept_sentence: "x" → "x\\ny"', "max_train_epochs: 16 → 20", "network_alpha: not set → 4.0", "train_batch_size: 2 → not set",
    ]  # fmt: skip
    assert diff(before, before) == []


def test_restore_brings_settings_back_and_keeps_present_ones(run):
    save_version(run)
    (first,) = versions(run)
    update_state(run, {"max_train_epochs": 99, "advanced": {"train_batch_size": 2}, "note": "mine"})
    assert restore(run, first.id) == ["max_train_epochs: 99 → 4", "train_batch_size: 2 → not set"]
    state = read_state(run)
    assert (state["max_train_epochs"], state.get("advanced"), state["note"], state["status"]) == (4, None, "mine", "stopped")
    assert versions(run)[0].state["max_train_epochs"] == 99


def test_values_that_neither_state_sets_are_the_same():
    assert diff({"resume_from_checkpoint": ""}, {}) == diff({}, {"advanced": {"network_args": ""}}) == []


def test_restore_never_renames_the_run(run):
    update_state(run, {"lora_name": "Draft name"})
    save_version(run)
    (first,) = versions(run)
    update_state(run, {"lora_name": "My Cat", "max_train_epochs": 9})
    assert restore(run, first.id) == ["max_train_epochs: 9 → 4"]
    assert read_state(run)["lora_name"] == "My Cat"


def test_restore_refuses_live_run_and_unknown_version(run):
    save_version(run)
    with pytest.raises(SessionNotFound, match="there are: id-cat-1"):
        find_version(run, "../../x")
    update_state(run, {"status": "starting", "timestamp": time.time()})
    with pytest.raises(AlreadyRunning):
        restore(run, "id-cat-1")


def test_restore_refuses_run_whose_live_trainer_is_not_recorded(run):
    save_version(run)
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 1, None, me)  # and no training.pid: the list says Stopped
    update_state(run, {"max_train_epochs": 9})
    with pytest.raises(AlreadyRunning):
        restore(run, "id-cat-1")
    assert read_state(run)["max_train_epochs"] == 9


def test_restore_waits_for_start_and_refuses_what_cannot_be_used(run):
    save_version(run)
    with file_lock(OutputsPaths(run.folder.parent).locks / "cat", timeout_s=1, busy="x"):
        waiting = threading.Thread(target=restore, args=(run, "id-cat-1"))
        update_state(run, {"max_train_epochs": 9})
        waiting.start()
        waiting.join(0.3)
        assert read_state(run)["max_train_epochs"] == 9
    waiting.join()
    assert read_state(run)["max_train_epochs"] == 4
    write_json(run.history / "bad.json", {"kept_at": 1, "state": {"max_train_epochs": "many"}})
    with pytest.raises(ConfigError, match="“many”"):
        restore(run, "bad")


def test_replacing_run_inherits_history(run, tmp_path):
    save_version(run)
    update_state(run, {"max_train_epochs": 8})
    new = make_run(tmp_path, "new", status="starting")
    save_version(run, into=new)
    assert [version.state["max_train_epochs"] for version in versions(new)] == [8, 4]


def test_state_that_cannot_be_read_is_not_kept(run):
    run.ui_state.write_text("{")
    save_version(run)
    assert versions(run) == []
