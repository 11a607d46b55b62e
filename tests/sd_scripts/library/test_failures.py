"""Known failures of memory and disk become one error message with a reason code."""

import errno

import pytest
import torch

from library.failures import explain_error, first_line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "cuda_oom"),
        (MemoryError(), "ram_oom"),
        (OSError(errno.ENOSPC, "No space left", "x"), "disk_full"),
    ],
)
def test_failures_of_memory_and_disk_are_explained(error, code):
    _, found = explain_error(error)
    assert found == code


def test_error_of_another_kind_is_not_explained():
    assert explain_error(RuntimeError("a kernel failed")) is None


def test_first_line_of_error_is_part_of_message():
    assert first_line(ValueError("\nIt broke.\nsecond line")) == "It broke"
    assert first_line(AssertionError()) == "AssertionError"
