"""Figures of runs: from the files, read once for an ended run."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from fluxgym.contract.codes import Status
from fluxgym.runs.paths import OutputsPaths
from fluxgym.runs.snapshot import RunSnapshot
from fluxgym.sessions import figures
from fluxgym.sessions.figures import FigureCache, Figures, figures_of
from fluxgym.sessions.index import Entry
from tests.support.runs import make_run, order_of


def write_progress(run, step, loss):
    line = {"time": 1.0, "phase": "training", "step": step, "total_steps": 20, "loss": loss}
    run.progress.write_text(json.dumps(line) + "\n" + json.dumps({"time": 2.0, "phase": "saving", "step": step, "total_steps": 20}) + "\n")


def write_end(run, **fields):
    end = {"run_id": "x", "attempt": 1, "status": "completed", "reason": "", "reason_code": ""}
    run.exit.write_text(json.dumps(end | fields))


def test_figures_are_the_last_known_ones(tmp_path):
    run = make_run(tmp_path)
    write_progress(run, 7, 0.25)
    write_end(run, started_at=100.0, ended_at=160.0)
    assert figures_of(RunSnapshot(run, {})) == Figures(step=7, total_steps=20, loss=0.25, duration_s=60.0)


def test_an_unknown_figure_gives_none(tmp_path):
    run = make_run(tmp_path)
    assert figures_of(RunSnapshot(run, {})) == Figures()
    write_end(run, started_at=100.0, ended_at=40.0)  # a clock that was set back
    assert figures_of(RunSnapshot(run, {})).duration_s is None
    order_of(run, "", expected_steps=12)
    assert figures_of(RunSnapshot(run, {})).total_steps == 12


def test_a_run_that_is_being_read_blocks_no_other(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        make_run(tmp_path, name)
    cache, is_reading, may_go_on = FigureCache(OutputsPaths(tmp_path)), threading.Event(), threading.Event()

    def slow(snapshot):
        if snapshot.run.slug == "cat":
            is_reading.set()
            assert may_go_on.wait(30)
        return Figures(step=len(snapshot.run.slug))

    monkeypatch.setattr(figures, "figures_of", slow)
    with ThreadPoolExecutor(2) as pool:
        cat = pool.submit(cache.of, Entry("cat", "cat", 1.0, Status.COMPLETED, False))
        assert is_reading.wait(30)
        try:
            assert pool.submit(cache.of, Entry("dog", "dog", 1.0, Status.COMPLETED, False)).result(30).step == 3
        finally:
            may_go_on.set()
        assert cat.result(30).step == 3


def test_an_ended_run_is_read_once_and_a_live_one_every_time(tmp_path):
    run, cache = make_run(tmp_path), FigureCache(OutputsPaths(tmp_path))
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
