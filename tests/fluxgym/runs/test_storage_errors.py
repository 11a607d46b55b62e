"""Errors of the operating system become error messages with a remedy, and reason codes."""

import errno
import os
from pathlib import Path

import pytest

from fluxgym.contract.codes import ReasonCode
from fluxgym.errors import NotReadableNow, StorageError
from fluxgym.runs.storage_errors import raise_if_exhausted, reason_code_of, storage_error

PATH = Path("outputs/cat/ui_state.json")


def os_error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(("number", "code", "sentence"), [
    (errno.ENOSPC, ReasonCode.DISK_FULL, "The disk is full"), (errno.EDQUOT, ReasonCode.DISK_FULL, "The disk is full"),
    (errno.EROFS, ReasonCode.STORAGE, "check the folder's permissions"), (errno.EIO, ReasonCode.STORAGE, "Input/output error"),
])  # fmt: skip
def test_failed_write_names_file_and_cause(number, code, sentence):
    with pytest.raises(StorageError, match=sentence) as caught:
        raise storage_error(os_error(number), PATH) from os_error(number)
    assert str(PATH) in str(caught.value)
    assert reason_code_of(caught.value) is code


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_shortage_of_this_machine_reports_nothing_about_file(number):
    assert isinstance(storage_error(os_error(number), PATH), NotReadableNow)
    with pytest.raises(NotReadableNow, match="Nothing was changed"):
        raise_if_exhausted(os_error(number), PATH)


def test_other_errors_are_left_to_caller():
    for error in (os_error(errno.ENOENT), ValueError("not JSON")):
        raise_if_exhausted(error, PATH)
