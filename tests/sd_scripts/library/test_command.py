"""Known failures of memory and disk become one error message with a reason code."""

import errno

import pytest
import torch

from library.command import Parser, explain_error, first_line, number
from library.errors import TrainerError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "cuda_oom"),
        (MemoryError(), "ram_oom"),
        (OSError(errno.ENOSPC, "No space left", "x"), "disk_full"),
        (RuntimeError("a kernel failed"), None),
    ],
)
def test_failures_of_memory_and_disk_are_explained(error, code):
    assert (explain_error(error) or (None, None))[1] == code


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-1e300", "-.5", "-2.5E+7"])
def test_negative_number_is_value_in_every_form(text):
    parser = Parser()
    parser.add_argument("--scale", type=number)
    assert parser.parse_args(["--scale", text]).scale == float(text)


@pytest.mark.parametrize("text", ["-inf", "-nan", "-5x"])
def test_negative_value_that_is_not_finite_number_is_reported(text):
    parser = Parser()
    parser.add_argument("--scale", type=number)
    with pytest.raises(TrainerError, match=f"argument --scale: {text} is not a finite number"):
        parser.parse_args(["--scale", text])


def test_first_line_of_error_is_part_of_message():
    assert first_line(ValueError("\nIt broke.\nsecond line")) == "It broke"
    assert first_line(AssertionError()) == "AssertionError"
