"""The loss curve is sent in increments, and the increments together equal the file."""

import json

import pytest

from fluxgym.sessions.run_metrics import NO_RECORD
from fluxgym.ui.api import loss_curve as curve_module
from fluxgym.ui.api.loss_curve import MAX_CURVES, MAX_POINTS, NO_POINTS, Curves
from fluxgym.ui.api.run_answers import CurvePoints
from tests.support.curves import read_curve


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    return tmp_path / "progress.jsonl"


class Page:
    """What run_page.js does with the answers."""

    def __init__(self, path):
        self.path, self.curves, self.seen, self.points, self.last = path, Curves(), [], {}, None

    def ask(self):
        answer, seen = self.curves.changes(self.path, self.seen)
        self.seen = json.loads(json.dumps(seen))
        if answer is not None:
            self.points = ({} if answer.replace else self.points) | dict(answer.points)
            self.last = answer.last
        return answer

    def shown(self):
        return [*self.points.items(), *([self.last] if self.last else [])]


def write(path, steps, loss=None):
    with path.open("a") as file:
        for step in steps:
            file.write(json.dumps({"phase": "training", "step": step, "loss": loss or 1 / step}) + "\n")


def test_one_new_step_in_long_curve_sends_one_point(path):
    write(path, range(1, 5001))
    page = Page(path)
    assert len(page.ask().points) <= 2 * MAX_POINTS
    for step in range(5001, 5009):
        write(path, [step])
        answer = page.ask()
        assert not answer.replace
        assert len(answer.points) + (answer.last is not None) == 1
        assert page.shown()[-1] == (step, 1 / step)
    assert page.ask() is None


def test_only_appended_lines_are_read(path, monkeypatch):
    write(path, range(1, 3000))
    page, parsed = Page(path), []
    lines_in = curve_module.lines_in
    monkeypatch.setattr(curve_module, "lines_in", lambda lines: lines_in(parsed.append(line) or line for line in lines))
    page.ask()
    parsed.clear()
    write(path, [3000])
    page.ask()
    page.ask()
    assert len(parsed) == 1


@pytest.mark.parametrize("pieces", [[range(1, 4), range(2, 6)], [range(1, 2000), range(1500, 2100)], [[1, 5, 9], [2, 6], [10]]])
def test_repeated_steps_replace_earlier_points(path, pieces):
    page = Page(path)
    for index, piece in enumerate(pieces, 1):
        for step in piece:
            write(path, [step], loss=index + step / 1e6)
            if step % 7 == 0 or len(piece) < 10:
                page.ask()
        page.ask()
    true = dict(read_curve(path))
    assert dict(page.shown()).items() <= true.items()
    assert page.shown()[-1] == max(true.items())
    if len(true) < MAX_POINTS:
        assert page.shown() == sorted(true.items())


def test_step_done_again_sends_that_step_alone(path):
    write(path, range(1, 101))
    page = Page(path)
    page.ask()
    write(path, [50], loss=7.0)
    assert page.ask() == CurvePoints(points=[(50, 7.0)], rates=[None], last=None, last_rate=None, validation=[], replace=False)


def test_incomplete_line_is_read_later(path):
    write(path, [1])
    page = Page(path)
    page.ask()
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert page.ask() is None
    with path.open("a") as file:
        file.write('ss": 0.5}\n')
    assert page.ask().points == [(2, 0.5)]


def test_another_file_or_another_app_sends_all_again(path):
    write(path, range(1, 10))
    page = Page(path)
    page.ask()
    page.curves = Curves()  # the app was started again
    assert page.ask().replace
    path.rename(path.with_name("old"))
    write(path, range(1, 4))
    assert page.ask().replace
    assert len(page.shown()) == 3
    path.unlink()
    assert page.ask() == NO_POINTS


def test_curve_cache_is_bounded(tmp_path):
    curves, paths = Curves(), [tmp_path / f"{number}.jsonl" for number in range(MAX_CURVES + 1)]
    for path in paths:
        write(path, [1])
    seen = [curves.changes(path, [])[1] for path in paths]
    assert curves.changes(paths[-1], seen[-1])[0] is None
    assert curves.changes(paths[0], seen[0])[0].replace  # forgotten, so read from the beginning


@pytest.mark.parametrize("seen", [None, "x", {}, [1], [None, None, None], ["x", 1, "y"], [[], {}, 3]])
def test_any_value_of_seen_is_accepted(path, seen):
    write(path, [1, 2])
    assert Curves().changes(path, seen)[0].replace


def append(path, *lines):
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_learning_rates_belong_to_their_points(path):
    page = Page(path)
    append(path, {"step": 1, "loss": 0.5, "lr": 1e-4}, {"step": 2, "loss": 0.4})
    answer = page.ask()
    assert (answer.points, answer.rates) == ([(1, 0.5), (2, 0.4)], [1e-4, None])
    write(path, range(1, 2 * MAX_POINTS + 2))
    append(path, {"step": 2 * MAX_POINTS + 2, "loss": 0.1, "lr": 3e-4})
    answer = page.ask()
    assert len(answer.rates) == len(answer.points)
    assert (answer.last, answer.last_rate) == ((2 * MAX_POINTS + 2, 0.1), 3e-4)


def test_validation_losses_are_sent_once_and_are_not_training_points(path):
    page = Page(path)
    append(path, {"step": 10, "loss": 0.5}, {"step": 10, "phase": "validating", "val_loss": 0.3})
    assert page.ask().validation == [(10, 0.3)]
    append(path, {"step": 20, "phase": "validating", "val_loss": 0.2}, {"step": 30, "val_loss": float("nan")})
    answer = page.ask()
    assert (answer.points, answer.validation, answer.replace) == ([], [(20, 0.2)], False)
    assert page.ask() is None


def test_record_has_validation_epochs_and_time_of_each_attempt(path):
    append(
        path,
        {"time": 100.0, "attempt": 1, "phase": "loading"},
        {"time": 110.0, "attempt": 1, "phase": "training", "step": 1, "epoch": 1, "loss": 1},
        {"time": 120.0, "attempt": 1, "phase": "training", "step": 2, "epoch": 1, "loss": 1},
        {"time": 121.0, "attempt": 1, "phase": "saving", "step": 2, "epoch": 2},
        {"time": 130.0, "attempt": 1, "phase": "training", "step": 3, "epoch": 2, "loss": 1},
        {"time": 500.0, "attempt": 2, "phase": "training", "step": 2, "epoch": 1, "loss": 1},
        {"time": 505.0, "attempt": 2, "phase": "validating", "step": 4, "epoch": 2, "val_loss": 0.25},
    )
    record = Curves().record(path)
    assert record.validation == {4: 0.25}
    assert record.epoch_ends == {1: 2, 2: 3}
    assert record.spans == {1: (100.0, 130.0), 2: (500.0, 505.0)}
    assert Curves().record(path.with_name("missing")) == NO_RECORD
