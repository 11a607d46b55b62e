"""The codes have the values that are on disks, and the page knows each of them."""

import json
import re
from pathlib import Path

from fluxgym.contract.codes import ENDED, FINISHED, LIVE, Phase, ReasonCode, Status

ASSETS = Path(__file__).parents[3] / "fluxgym" / "ui" / "assets"


def javascript(start, end):
    """Return the text between two texts that exactly one script of the page has."""
    found = [
        match[1]
        for path in ASSETS.rglob("*.js")
        for match in re.finditer(f"{re.escape(start)}(.*?){re.escape(end)}", path.read_text(), re.S)
    ]
    assert len(found) == 1, start
    return found[0]


def keys(text):
    return re.findall(r'(\w+): ["\[]', text)


def test_values_are_those_of_earlier_versions():
    assert list(Status) == ["starting", "queued", "running", "stopped", "completed", "failed", "unreadable"]
    assert list(Phase) == [
        "starting", "downloading", "loading", "caching", "training", "sampling", "validating", "saving", "verifying", "done",
    ]  # fmt: skip
    assert list(ReasonCode) == [
        "bad_input", "bad_model", "bad_output", "cuda_oom", "disk_full", "driver", "interrupted", "launch", "nan", "not_verified", "ram_oom",
        "stalled", "storage", "supervisor", "unknown", "unreadable", "user",
    ]  # fmt: skip


def test_groups_of_codes_are_those_of_earlier_versions():
    assert {"starting", "queued", "running"} == LIVE
    assert {"stopped", "completed", "failed"} == ENDED
    assert {"done", "verifying"} == FINISHED


def test_codes_in_json_are_their_values():
    assert json.dumps({"status": Status.RUNNING, "phase": Phase.DONE, "code": ReasonCode.NAN}) == (
        '{"status": "running", "phase": "done", "code": "nan"}'
    )


def test_page_knows_every_status_and_phase():
    assert set(keys(javascript("const STATES = {", "};"))) == set(Status)
    assert set(keys(javascript("const PHASES = {", "};"))) == set(Phase) - {Phase.STARTING}
    assert set(re.findall(r'"(\w+)"', javascript("const LIVE = new Set([", "]"))) == LIVE
