"""The tail of progress.jsonl, however large or torn; the curve, thinned."""

import json
import os

from fluxgym.runs.progress import eta_s, read_curve, read_last, read_last_training


def write(path, *lines, torn=""):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    return path


def test_a_torn_last_line_is_skipped(tmp_path):
    path = write(tmp_path / "p", {"step": 1, "loss": 0.5}, {"step": 2, "phase": "saving"}, torn='{"step": 3, "lo')
    assert read_last(path)["step"] == 2
    assert read_last_training(path)["step"] == 1


def test_nothing_is_none(tmp_path):
    assert read_last(tmp_path / "none") is None
    assert read_last(write(tmp_path / "p", torn="garbage\n[1]\n")) is None
    assert read_curve(tmp_path / "none") == []


def test_a_pipe_is_not_waited_for_and_an_odd_phase_is_no_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read_last(tmp_path / "pipe") is None
    assert read_curve(tmp_path / "pipe") == []
    assert read_last(write(tmp_path / "p", {"step": 1}, {"step": 2, "phase": ["training"]}))["step"] == 1


def test_the_curve_counts_a_repeated_step_once_and_is_thinned(tmp_path):
    lines = [{"step": step, "loss": step / 10} for step in (1, 2, 3, 2, 3, 4)] + [{"step": 4, "phase": "saving"}]
    assert read_curve(write(tmp_path / "p", *lines)) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    many = write(tmp_path / "many", *({"step": step, "loss": 1.0} for step in range(1, 10_001)))
    curve = read_curve(many, 100)
    assert 100 <= len(curve) <= 200
    assert curve[-1][0] == 10_000


def test_remaining_seconds():
    assert eta_s({"step": 10, "total_steps": 30, "s_per_it": 0.5}) == 10
    assert eta_s({"step": 10}) is None
