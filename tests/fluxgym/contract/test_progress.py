"""Lines of progress.jsonl are written and read by one schema."""

import json
import math

import pytest

from fluxgym.contract.progress import NUMBER_LIMIT, NUMBERS, append_lines, format_line, is_number, validate_line


def test_limit_is_that_of_exact_integers_in_json_and_browsers():
    assert NUMBER_LIMIT == 9_007_199_254_740_992


@pytest.mark.parametrize("value", [0, -1, 1.5, NUMBER_LIMIT - 1, -(NUMBER_LIMIT - 1), 1e15])
def test_is_number_of_number_is_true(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [True, None, "1", [1], math.nan, math.inf, -math.inf, NUMBER_LIMIT, -NUMBER_LIMIT, 1e300, 10**400])
def test_is_number_of_another_value_is_false(value):
    assert not is_number(value)


def test_format_line_writes_one_json_object_without_missing_and_bad_numbers():
    text = format_line({"time": 1.5, "attempt": 1, "phase": "training", "loss": math.nan, "lr": None, "step": 2, "reason": "a\nb"})
    assert text == '{"time": 1.5, "attempt": 1, "phase": "training", "step": 2, "reason": "a\\nb"}\n'


@pytest.mark.parametrize("value", [None, 7, [], "text", {"phase": 7}, {"phase": None}])
def test_validate_line_of_another_value_returns_none(value):
    assert validate_line(value) is None


def test_validate_line_drops_bad_numbers_and_keeps_other_fields():
    bad = dict.fromkeys(NUMBERS, "7")
    assert validate_line(bad | {"phase": "caching", "step": 3, "note": [1]}) == {"phase": "caching", "step": 3, "note": [1]}


def test_written_line_is_read_unchanged():
    line = {"time": 1.25, "attempt": 2, "phase": "training", "step": 3, "loss": 0.125, "s_per_it": 1e-5}
    assert validate_line(json.loads(format_line(line))) == line


def test_lines_are_appended_to_file_and_never_through_link(tmp_path):
    for number in (1, 2):
        append_lines(tmp_path / "progress.jsonl", format_line({"step": number}))
    assert (tmp_path / "progress.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    (tmp_path / "link").symlink_to(tmp_path / "profile")
    with pytest.raises(OSError, match="it is a link"):
        append_lines(tmp_path / "link", "x")
    assert not (tmp_path / "profile").exists()
