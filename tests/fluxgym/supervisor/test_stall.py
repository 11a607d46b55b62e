"""Limits of idle time per phase: a default at first, then derived from this run; time without checks does not count."""

import os
from types import SimpleNamespace

import pytest

from fluxgym.supervisor import stall
from fluxgym.supervisor.stall import (
    LEARNED_AFTER,
    LEARNED_FACTOR,
    LIMITS_S,
    MAX_CHECK_GAP_S,
    MIN_LEARNED_S,
    OTHER_LIMIT_S,
    StallWatch,
    dump_stacks,
)
from tests.support.runs import make_run


class Clock:
    """A clock that a test moves on."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stall, "time", clock)
    return clock


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    return make_run(tmp_path)


def silent(clock, watch, seconds):
    """Look every second and return what was found, None as long as all is well."""
    found = None
    for _ in range(round(seconds)):
        clock.now += 1.0
        found = found or watch.check()
    return found


def says(run, phase):
    with run.progress.open("a") as file:
        file.write(f'{{"phase": "{phase}"}}\n')


@pytest.mark.parametrize("phase", [*LIMITS_S, "verifying", "starting", "of another trainer"])
def test_phase_without_history_has_default_limit(run, phase):
    assert StallWatch(run, 1).limit_s(phase) == LIMITS_S.get(phase, OTHER_LIMIT_S)
    assert StallWatch(run, 1, scale=0.01).limit_s(phase) == LIMITS_S.get(phase, OTHER_LIMIT_S) * 0.01


@pytest.mark.parametrize(("gap_s", "limit_s"), [(1, MIN_LEARNED_S), (30, LEARNED_FACTOR * 30), (200, LEARNED_FACTOR * 200)])
def test_limit_is_learned_from_longest_gap(run, clock, gap_s, limit_s):
    watch = StallWatch(run, os.getpid())
    says(run, "training")
    silent(clock, watch, 1)
    for _ in range(LEARNED_AFTER - 1):
        silent(clock, watch, gap_s - 1)
        says(run, "training")
        silent(clock, watch, 1)
    assert watch.limit_s("training") == LIMITS_S["training"]
    silent(clock, watch, gap_s - 1)
    says(run, "training")
    silent(clock, watch, 1)
    assert watch.limit_s("training") == limit_s
    assert watch.limit_s("sampling") == LIMITS_S["sampling"]


def test_stall_is_found_beyond_its_limit_and_not_before(run, clock):
    watch = StallWatch(run, os.getpid())
    says(run, "training")
    assert silent(clock, watch, 1) is None
    assert silent(clock, watch, LIMITS_S["training"]) is None
    found = silent(clock, watch, 2)
    assert (found.phase, found.limit_s) == ("training", LIMITS_S["training"])
    assert found.idle_s > found.limit_s


def test_output_counts_as_activity_only_in_phases_with_rare_progress(run, clock):
    watch = StallWatch(run, 1 << 30)
    for phase, is_sign in (("loading", True), ("training", False)):
        says(run, phase)
        silent(clock, watch, 1)
        found = None
        for _ in range(4):
            run.training_log.open("a").write("still here\n")
            found = found or silent(clock, watch, LIMITS_S[phase] / 3)
        assert (found is None) == is_sign


def test_suspend_of_machine_is_not_stall(run, clock):
    watch = StallWatch(run, os.getpid())
    says(run, "training")
    silent(clock, watch, 1)
    clock.now += 100_000.0
    assert watch.check() is None
    assert silent(clock, watch, LIMITS_S["training"] - MAX_CHECK_GAP_S - 1) is None


def test_log_that_cannot_be_written_is_only_reported(run, caplog):
    run.training_log.symlink_to("/dev/full")
    dump_stacks(SimpleNamespace(pid=1 << 30), run.training_log)
    (record,) = caplog.records
    assert record.getMessage().startswith("the stacks of the stalled trainer could not be written: ")
