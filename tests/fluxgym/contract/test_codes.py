"""The codes have the values that are on disks; that the page has a text for each is tested in tests/fluxgym/ui/api/test_session_rows.py."""

import json

from fluxgym.contract.codes import ENDED, ERROR_PREFIX, EXIT_STOPPED, FINISHED, LIVE, Phase, ReasonCode, Status


def test_values_are_those_of_earlier_versions():
    assert list(Status) == ["starting", "queued", "running", "stopped", "completed", "failed", "unreadable"]
    assert list(Phase) == [
        "starting", "downloading", "loading", "caching", "training", "sampling", "validating", "saving", "verifying", "done",
    ]  # fmt: skip
    assert list(ReasonCode) == [
        "bad_input", "bad_model", "bad_output", "cuda_oom", "disk_full", "driver", "interrupted", "launch", "nan", "not_verified", "ram_oom",
        "stalled", "storage", "supervisor", "unknown", "unreadable", "user",
    ]  # fmt: skip


def test_end_of_trainer_is_read_as_in_logs_of_earlier_versions():
    assert (EXIT_STOPPED, ERROR_PREFIX) == (143, "error: ")


def test_groups_of_codes_are_those_of_earlier_versions():
    assert {"starting", "queued", "running"} == LIVE
    assert {"stopped", "completed", "failed"} == ENDED
    assert {"done", "verifying"} == FINISHED


def test_codes_in_json_are_their_values():
    assert json.dumps({"status": Status.RUNNING, "phase": Phase.DONE, "code": ReasonCode.NAN}) == (
        '{"status": "running", "phase": "done", "code": "nan"}'
    )
