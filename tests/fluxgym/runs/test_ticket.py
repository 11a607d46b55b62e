"""A ticket has one parser, so that a run that the queue does not see is not shown as queued in it."""

import json

import pytest

from fluxgym.engines.tickets import Tickets
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.runs.ticket import read_ticket
from tests.support.runs import make_run, write_ticket

HUGE = 10**400
DAMAGED = [
    [], 1, None, {}, {"place": "1"}, {"place": True}, {"place": -1}, {"place": HUGE}, {"devices": "cpu"}, {"devices": [1]}, {"since": "now"},
    {"since": HUGE}, {"since": float("inf")}, {"since": float("nan")}, {"since": -1}, {"slug": "dog"}, {"run_id": None},
]  # fmt: skip


def is_seen(run):
    return read_ticket(run) is not None, Tickets(OutputsPaths(run.folder.parent)).all() != [], RunSnapshot.read(run).is_queued


@pytest.mark.parametrize("damage", DAMAGED, ids=[f"{damage!s:.25}" for damage in DAMAGED])
def test_damaged_ticket_is_ignored_by_every_reader(tmp_path, damage):
    run = make_run(tmp_path, status="queued")
    write_ticket(run)
    assert is_seen(run) == (True, True, True)
    good = json.loads(run.ticket.read_text())
    run.ticket.write_text(json.dumps(good | damage if damage and isinstance(damage, dict) else damage))
    assert is_seen(run) == (False, False, False)
