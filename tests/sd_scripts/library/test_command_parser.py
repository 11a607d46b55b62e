"""Numbers on the command line."""

import pytest

from library.command_parser import Parser
from library.errors import TrainerError
from library.number_parsing import number


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-1e300", "-.5", "-2.5E+7"])
def test_a_negative_number_is_a_value_in_every_form(text):
    parser = Parser()
    parser.add_argument("--scale", type=number)
    assert parser.parse_args(["--scale", text]).scale == float(text)


@pytest.mark.parametrize("text", ["-inf", "-nan", "-5x"])
def test_a_negative_value_that_is_not_a_finite_number_is_named(text):
    parser = Parser()
    parser.add_argument("--scale", type=number)
    with pytest.raises(TrainerError, match=f"^--scale needs a number, not “{text}”.$"):
        parser.parse_args(["--scale", text])
