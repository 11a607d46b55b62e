"""The fault suite itself: its groups, its command line, its counts, and the table that it writes."""

import re
from pathlib import Path

import pytest

from tests.faults import __main__ as command
from tests.faults import resume, sessions
from tests.faults.modules import PytestModules
from tests.faults.report import DOC, Run, document, line_of, lines_in, update
from tests.faults.result import ROOT, Result, Row, try_each
from tests.faults.suite import GROUPS, MAX_MINUTES, ROWS

# Rows whose short form is another test, and which one.
SHORT_ELSEWHERE = {
    resume.exact_resumes: "tests/integration/test_exact_resume.py",
    sessions.model_of_truth: "tests/integration/test_truth.py",
}
RUN = Run(seconds=61.4, date="2026-01-02", commit="abc1234", cores=2)
OUTCOMES = """
import pytest
@pytest.mark.parametrize("number", [1, 2, 3])
def test_holds(number): pass
def test_loses(): assert 1 == 2
@pytest.fixture
def broken(): raise ValueError
def test_cannot_begin(broken): pass
def test_is_not_tried(): pytest.skip("not on this machine")
"""


def row(title: str, **fields: object) -> Row:
    values = {"fault": lambda folder, count, seed: Result(tried=count, held=count), "count": 10, "minutes": 1.0} | fields
    return Row(title=title, **values)


@pytest.fixture(name="groups")
def fixture_groups():
    return {"files": (row("A file is cut"), row("A disk is full")), "network": (row("A flood"),)}


def test_group_takes_at_most_its_minutes_and_titles_are_unique():
    assert {
        name: sum(each.minutes for each in rows) for name, rows in GROUPS.items() if sum(each.minutes for each in rows) > MAX_MINUTES
    } == {}
    titles = [each.title for each in ROWS]
    assert len(set(titles)) == len(titles)
    assert not any("|" in title or "\n" in title for title in titles)


def test_every_row_has_short_form_in_make_test():
    without = [each for each in ROWS if not each.short and not isinstance(each.fault, PytestModules)]
    assert {each.fault for each in without} == set(SHORT_ELSEWHERE)
    assert [path for path in SHORT_ELSEWHERE.values() if not (ROOT / path).is_file()] == []


def test_rows_name_tests_that_exist():
    nodes = [node for each in ROWS if isinstance(each.fault, PytestModules) for node in each.fault.nodes]
    missing = [node for node in nodes if not (ROOT / node.partition("::")[0]).is_file()]
    functions = [(path, name) for path, _, name in (node.partition("::") for node in nodes) if name and path not in missing]
    missing += [f"{path}::{name}" for path, name in functions if not re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)]
    assert missing == []


def test_list_prints_every_group_with_its_rows_and_runs_nothing(capsys, monkeypatch):
    monkeypatch.setattr(command, "run_row", lambda *_: pytest.fail("a row was run"))
    assert command.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^(\w+) \(about \d+ minutes\)$", printed, re.MULTILINE) == list(GROUPS)
    assert [each.title for each in ROWS if f"min  {each.title}\n" not in printed + "\n"] == []


def test_group_and_row_choose_what_is_run_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "DOC", tmp_path / "reliability.md")
    assert command.main(["--group", "files", "--row", "ui_state.json", "--share", "0.0001", "--seed", "7", "--write"]) == 0
    (line,) = lines_in((tmp_path / "reliability.md").read_text()).values()
    assert re.match(r"\| A ui_state\.json is cut, .* \| 10 \| 10 \| 0 \| \d+ \| [\d-]+, \w+\+?, \d+ cores, seed 7 \|", line)
    assert capsys.readouterr().out.count("tried") == 1
    assert command.main(["--row", "no such row"]) == 2


def test_row_that_loses_or_breaks_sets_exit_code_1(monkeypatch, capsys):
    def broken(folder: Path, count: int, seed: int) -> Result:
        raise ValueError("broken")

    for fault in (broken, lambda folder, count, seed: Result(tried=5, held=4)):
        monkeypatch.setattr(command, "GROUPS", {"files": (row("A row", fault=fault),), "network": (row("Another"),)})
        assert command.main([]) == 1
        printed = capsys.readouterr().out
        assert re.search(r"^A row .* lost +1 ", printed, re.MULTILINE)
        assert re.search(r"^Another .* lost +0 ", printed, re.MULTILINE)


def test_writing_row_keeps_all_others_as_they_were(tmp_path, groups):
    path = tmp_path / "reliability.md"
    first, second, flood = (each for rows in groups.values() for each in rows)
    update(path, groups, {first.title: line_of(first, Result(tried=10, held=9, seed=0, note="try 3: torn"), RUN)}, 20)
    update(path, groups, {flood.title: line_of(flood, Result(tried=4, held=4), RUN)}, 20)
    before = path.read_text()
    assert "| A file is cut | 10 | 9 | 1 | 61 | 2026-01-02, abc1234, 2 cores, seed 0 | try 3: torn |" in before
    assert "| A flood | 4 | 4 | 0 | 61 | 2026-01-02, abc1234, 2 cores |  |" in before
    assert "| A disk is full | | | | | never run | |" in before
    update(path, groups, {second.title: line_of(second, Result(tried=1, held=1), RUN)}, 20)
    changed = [pair for pair in zip(before.splitlines(), path.read_text().splitlines(), strict=True) if pair[0] != pair[1]]
    assert [new for _, new in changed] == ["| A disk is full | 1 | 1 | 0 | 61 | 2026-01-02, abc1234, 2 cores |  |"]


def test_line_of_row_that_suite_no_longer_has_is_removed(tmp_path, groups):
    path = tmp_path / "reliability.md"
    update(path, groups, {"A file is cut": "| A file is cut | 1 | 1 | 0 | 1 | now | |"}, 20)
    update(path, {"network": groups["network"]}, {}, 20)
    assert "A file is cut" not in path.read_text()


def test_published_table_has_rows_of_suite():
    assert DOC.read_text() == document(GROUPS, lines_in(DOC.read_text()), MAX_MINUTES)


def test_cases_of_test_modules_are_counted_from_pytests_report(tmp_path):
    (tmp_path / "test_outcomes.py").write_text(OUTCOMES)
    result = PytestModules((str(tmp_path / "test_outcomes.py"),))(tmp_path, 2, 0)
    assert (result.tried, result.held) == (10, 6)
    assert "test_loses" in result.note
    assert "1 skipped: not on this machine" in result.note


def test_module_that_cannot_be_run_counts_as_lost(tmp_path):
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    result = PytestModules((str(tmp_path / "test_broken.py"),))(tmp_path, 1, 0)
    assert (result.tried, result.lost) == (1, 1)
    assert result.note


def test_each_attempt_has_separate_seed_and_exception_counts_as_lost():
    drawn = []

    def attempt(number, dice):
        drawn.append(dice.random())
        if number == 1:
            raise ValueError("the second")
        return "torn" if number == 2 else ""

    result = try_each(4, 5, attempt)
    assert (result.tried, result.held, result.seed) == (4, 2, 5)
    assert result.note == "try 1: ValueError: the second; try 2: torn"
    first = drawn.copy()
    try_each(4, 5, attempt)
    assert drawn[4:] == first
    assert len(set(first)) == 4
