"""The loss curve goes to the page in small pieces, however long it is, and what the page has put together equals what the file says."""

import json

import pytest

from fluxgym.ui.api import loss_curve as curve_module
from fluxgym.ui.api.answers import CurvePoints
from fluxgym.ui.api.loss_curve import MAX_CURVES, MAX_POINTS, Curves
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


def test_one_new_step_in_a_long_curve_sends_one_point(path):
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


def test_only_what_was_appended_is_read(path, monkeypatch):
    write(path, range(1, 3000))
    page, parsed = Page(path), []
    losses_in = curve_module.losses_in
    monkeypatch.setattr(curve_module, "losses_in", lambda lines: losses_in(parsed.append(line) or line for line in lines))
    page.ask()
    parsed.clear()
    write(path, [3000])
    page.ask()
    page.ask()
    assert len(parsed) == 1


@pytest.mark.parametrize("pieces", [[range(1, 4), range(2, 6)], [range(1, 2000), range(1500, 2100)], [[1, 5, 9], [2, 6], [10]]])
def test_steps_done_again_replace_what_was(path, pieces):
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


def test_a_step_done_again_sends_that_step_alone(path):
    write(path, range(1, 101))
    page = Page(path)
    page.ask()
    write(path, [50], loss=7.0)
    assert page.ask() == CurvePoints(points=[(50, 7.0)], last=None, replace=False)


def test_half_a_line_waits_for_its_other_half(path):
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
    assert page.ask() == CurvePoints(points=[], last=None, replace=True)


def test_no_more_than_a_few_curves_are_kept(tmp_path):
    curves, paths = Curves(), [tmp_path / f"{number}.jsonl" for number in range(MAX_CURVES + 1)]
    for path in paths:
        write(path, [1])
    seen = [curves.changes(path, [])[1] for path in paths]
    assert curves.changes(paths[-1], seen[-1])[0] is None
    assert curves.changes(paths[0], seen[0])[0].replace  # forgotten, so read from the beginning


@pytest.mark.parametrize("seen", [None, "x", {}, [1], [None, None, None], ["x", 1, "y"], [[], {}, 3]])
def test_anything_may_be_said_to_be_seen(path, seen):
    write(path, [1, 2])
    assert Curves().changes(path, seen)[0].replace
