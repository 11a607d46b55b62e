"""Metrics of runs: from the files, read once for an ended run."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from fluxgym.contract.codes import Status
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.process_identity import identify
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions import run_metrics
from fluxgym.sessions.index import Entry
from fluxgym.sessions.listing import session_of
from fluxgym.sessions.run_metrics import AttemptSpans, MetricsCache, RunMetrics, metrics_of
from fluxgym.ui.api import run_parts
from fluxgym.ui.api.compare import CompareRoutes
from fluxgym.ui.api.loss_curve import Curves
from fluxgym.ui.api.session_rows import SessionRows
from tests.support.api import router_client, value
from tests.support.runs import make_run, make_spec, record_processes
from tests.support.small_installation import small_installation


def write_progress(run, step, loss):
    line = {"time": 1.0, "phase": "training", "step": step, "total_steps": 20, "loss": loss}
    run.progress.write_text(json.dumps(line) + "\n" + json.dumps({"time": 2.0, "phase": "saving", "step": step, "total_steps": 20}) + "\n")


def write_end(run, **fields):
    end = {"run_id": "x", "attempt": 1, "status": "completed", "reason": "", "reason_code": ""}
    run.exit.write_text(json.dumps(end | fields))


def found(run, spans=None):
    snapshot = RunSnapshot(run, {})
    return metrics_of(snapshot, (spans or AttemptSpans()).of(snapshot))


def test_duration_of_resumed_run_is_that_of_all_its_attempts_wherever_it_is_shown(tmp_path):
    world = small_installation(tmp_path)
    run = make_run(world.outputs, status="stopped", base_model="pocket")
    lines = [(1, 1000.0), (1, 1060.0), (2, 5000.0), (2, 5010.0)]
    run.progress.write_text(
        "".join(json.dumps({"attempt": attempt, "time": at, "phase": "training", "step": 1, "loss": 0.5}) + "\n" for attempt, at in lines)
    )
    write_end(run, attempt=2, status="stopped", started_at=4995.0, ended_at=5020.0)
    expected = 60.0 + 25.0
    spans = AttemptSpans()
    assert [found(run, spans).duration_s for _ in range(2)] == [expected] * 2
    assert SessionRows(world).row_of(run).duration_s == expected
    record = Curves().record(run.progress)
    assert run_parts.run_summary(run, {}, record, world.models, session=session_of(run)).trained_s == expected
    make_run(world.outputs, "dog", status="completed", base_model="pocket")
    client = router_client([CompareRoutes(world).router])
    compared = value(client.get("compare?slug=cat&slug=dog"))["settings"]
    assert next(row["values"] for row in compared if row["label"] == "Duration") == ["1 min 25 s", ""]


def test_duration_of_resumed_run_that_trains_counts_from_sum_of_its_earlier_attempts(tmp_path):
    world = small_installation(tmp_path)
    run = make_run(world.outputs, status="running", base_model="pocket")
    me = identify(os.getpid(), "id-cat")
    record_processes(run, "id-cat", 2, me, me, started_at=5000.0)
    run.training_pid.write_text(str(os.getpid()))
    spans = AttemptSpans()
    for attempt, at in [(1, 1000.0), (1, 1060.0), (2, 5000.0), (2, 5010.0)]:
        with run.progress.open("a") as file:
            file.write(json.dumps({"attempt": attempt, "time": at, "phase": "training"}) + "\n")
        assert spans.of(RunSnapshot(run, {}))  # read line by line
    assert spans.of(RunSnapshot(run, {})) == {1: (1000.0, 1060.0), 2: (5000.0, 5010.0)}
    assert SessionRows(world).row_of(run).duration_from == 5000.0 - 60.0


def test_metrics_are_last_reported_values(tmp_path):
    run = make_run(tmp_path)
    write_progress(run, 7, 0.25)
    write_end(run, started_at=100.0, ended_at=160.0)
    assert found(run) == RunMetrics(step=7, total_steps=20, loss=0.25, duration_s=60.0)


def test_unknown_metric_returns_none(tmp_path):
    run = make_run(tmp_path)
    assert found(run) == RunMetrics()
    write_end(run, started_at=100.0, ended_at=40.0)  # a clock that was set back
    assert found(run).duration_s is None
    make_spec(run, "", expected_steps=12)
    assert found(run).total_steps == 12


def test_run_that_is_being_read_blocks_no_other(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        make_run(tmp_path, name)
    cache, is_reading, may_go_on = MetricsCache(OutputsPaths(tmp_path)), threading.Event(), threading.Event()

    def slow(snapshot, spans):
        if snapshot.run.slug == "cat":
            is_reading.set()
            assert may_go_on.wait(30)
        return RunMetrics(step=len(snapshot.run.slug))

    monkeypatch.setattr(run_metrics, "metrics_of", slow)
    with ThreadPoolExecutor(2) as pool:
        cat = pool.submit(cache.of, Entry("cat", "cat", 1.0, Status.COMPLETED, False))
        assert is_reading.wait(30)
        try:
            assert pool.submit(cache.of, Entry("dog", "dog", 1.0, Status.COMPLETED, False)).result(30).step == 3
        finally:
            may_go_on.set()
        assert cat.result(30).step == 3


def test_ended_run_is_read_once_and_live_one_every_time(tmp_path):
    run, cache = make_run(tmp_path), MetricsCache(OutputsPaths(tmp_path))
    write_progress(run, 7, 0.25)
    ended = Entry("cat", "cat", 1.0, Status.COMPLETED, False)
    live = Entry("cat", "cat", 1.0, Status.RUNNING, True)
    assert cache.of(ended).step == 7
    write_progress(run, 8, 0.25)
    assert cache.of(ended).step == 7
    assert cache.of(live).step == 8
    write_progress(run, 9, 0.25)
    assert cache.of(live).step == 9
    assert cache.of(Entry("cat", "cat", 1.0, Status.COMPLETED, False)).step == 9  # the index has a new entry
