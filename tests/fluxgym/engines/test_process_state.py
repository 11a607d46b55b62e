"""The phase of a run follows from its recorded processes."""

import time
from dataclasses import replace
from datetime import datetime

import pytest

from fluxgym.engines.process_state import state_of_record
from fluxgym.runs.process_identity import ProcessRecord, init_started_at
from fluxgym.runs.status import EnginePhase, EngineState
from tests.support.identities import DEAD, OTHER_HOST, OWN, REBOOTED, identity

OBSERVED = [  # supervisor, trainer; OWN is alive
    (OWN, OWN, EnginePhase.ACTIVE, True),
    (DEAD, OWN, EnginePhase.ACTIVE, False),
    (None, OWN, EnginePhase.ACTIVE, False),
    (OWN, None, EnginePhase.PENDING, True),
    (OWN, DEAD, EnginePhase.FINISHING, True),
    (DEAD, DEAD, EnginePhase.GONE, False),
    (DEAD, None, EnginePhase.GONE, False),
    (None, None, EnginePhase.GONE, False),
    (REBOOTED, REBOOTED, EnginePhase.GONE, False),
    (OTHER_HOST, OTHER_HOST, EnginePhase.UNREACHABLE, False),
]


def state_of(supervisor, trainer):
    """Return the state of a run with these recorded processes."""
    return state_of_record(ProcessRecord(run_id="id-cat", attempt=1, started_at=0.0, supervisor=supervisor, trainer=trainer), time.time())


def test_run_that_recorded_no_process_was_removed():
    assert state_of_record(None, 7.0) == EngineState(phase=EnginePhase.GONE, observed_at=7.0)


@pytest.mark.parametrize(("supervisor", "trainer", "phase", "is_supervised"), OBSERVED)
def test_phase_follows_from_recorded_processes(supervisor, trainer, phase, is_supervised):
    state = state_of(identity(supervisor), identity(trainer))
    assert (state.phase, state.is_supervised) == (phase, is_supervised)
    assert state.node == ("pod" if phase is EnginePhase.UNREACHABLE else "")
    assert ("restarted" in state.reason) == (supervisor == REBOOTED)


def test_restarted_container_reports_its_start_time():
    before = identity({"init_ticks": 7})
    started = datetime.fromtimestamp(init_started_at())
    assert state_of(before, before).reason == f"The container restarted at {started:%Y-%m-%d %H:%M}."
    rebooted = replace(before, boot_id="another")
    assert state_of(rebooted, rebooted).reason.startswith("The machine or container restarted at ")
