"""The tail of progress.jsonl, also of large and truncated files; the curve, thinned."""

import json
import os

import pytest

from fluxgym.runs.progress import duration_text, eta_s, read_last, read_last_training
from tests.support.curves import read_curve


def write(path, *lines, torn=""):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    return path


def test_truncated_last_line_is_skipped(tmp_path):
    path = write(tmp_path / "p", {"step": 1, "loss": 0.5}, {"step": 2, "phase": "saving"}, torn='{"step": 3, "lo')
    assert read_last(path)["step"] == 2
    assert read_last_training(path)["step"] == 1


def test_read_last_without_line_returns_none(tmp_path):
    assert read_last(tmp_path / "none") is None
    assert read_last(write(tmp_path / "p", torn="garbage\n[1]\n")) is None


def test_read_last_does_not_wait_for_pipe_and_skips_invalid_phases(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read_last(tmp_path / "pipe") is None
    assert read_last(write(tmp_path / "p", {"step": 1}, {"step": 2, "phase": ["training"]}))["step"] == 1


def test_losses_in_repeated_step_counts_last_loss(tmp_path):
    lines = [{"step": step, "loss": step / 10} for step in (1, 2, 3, 2, 3, 4)] + [{"step": 4, "phase": "saving"}]
    assert read_curve(write(tmp_path / "p", *lines)) == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]


def test_remaining_time_is_derived_from_speed():
    assert eta_s({"step": 10, "total_steps": 30, "s_per_it": 0.5}) == 10
    assert eta_s({"step": 10}) is None


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (7140, "119 min"), (7500, "2 h 5 min")])
def test_duration_text_uses_unit_that_fits(seconds, text):
    assert duration_text(seconds) == text
