"""ui_state.json: tolerant reading, atomic writes, unknown keys kept, deleted files not written again."""

import json
import threading

import pytest

from fluxgym.errors import UnreadableState
from fluxgym.runs.state import read_state, timestamp_of, update_state
from tests.support.runs import make_run, state_of

DAMAGES = {
    "empty": (b"", "empty"),
    "half": (b'{"lora_name": ', "valid JSON"),
    "list": (b"[1, 2]", "no settings"),
    "utf-16": (b"\xff\xfe{}", "JSON"),
    "deep": (b"[" * 100_000, "JSON"),
    "huge": (b" " * (1 << 21), "larger"),
}


@pytest.mark.parametrize(("damage", "named"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_state_is_reported_with_one_message(damage, named, tmp_path):
    run = make_run(tmp_path)
    run.ui_state.write_bytes(damage)
    with pytest.raises(UnreadableState, match=named):
        read_state(run)


def test_unknown_keys_are_kept_and_none_removes_key(tmp_path):
    run = make_run(tmp_path, mine={"a": 1}, reason="old")
    update_state(run, {"status": "failed", "reason": None})
    assert state_of(run)["mine"] == {"a": 1}
    assert state_of(run)["status"] == "failed"
    assert "reason" not in state_of(run)


def test_concurrent_writers_lose_no_update(tmp_path):
    run = make_run(tmp_path)
    writers = [threading.Thread(target=update_state, args=(run, {f"key{number}": number})) for number in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {state_of(run)[f"key{number}"] for number in range(12)} == set(range(12))


@pytest.mark.parametrize("damage", [None, b"{half"])
def test_deleted_or_damaged_state_is_not_changed(damage, tmp_path):
    run = make_run(tmp_path)
    run.ui_state.unlink()
    if damage:
        run.ui_state.write_bytes(damage)
    update_state(run, {"status": "failed"})
    assert (run.ui_state.read_bytes() if run.ui_state.exists() else None) == damage


def test_state_file_is_small_and_readable_by_jq(tmp_path):
    run = make_run(tmp_path)
    assert run.ui_state.stat().st_size < 1024
    assert json.loads(run.ui_state.read_text())["lora_name"] == "cat"


def test_invalid_timestamps_are_read_as_none():
    assert timestamp_of({"timestamp": 1706140800.0}) == 1706140800.0
    for odd in (None, "yesterday", True, -5, 1e300, float("nan"), [1]):
        assert timestamp_of({"timestamp": odd}) == 0.0
