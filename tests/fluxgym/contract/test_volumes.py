"""What a volume may refuse is not an error; what a failing disk reports is. Real refusals: tests/integration/test_volumes.py."""

import errno
import os
from unittest.mock import Mock

import pytest

from fluxgym.contract.volumes import sync_file, sync_folder, try_chmod


def refuse(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EACCES])
def test_unsupported_volume_call_is_skipped(number, tmp_path, monkeypatch):
    calls = {name: Mock(side_effect=refuse(number)) for name in ("fsync", "chmod", "open")}
    monkeypatch.setattr(os, "fsync", calls["fsync"])
    monkeypatch.setattr(os, "chmod", calls["chmod"])
    sync_folder(tmp_path)
    sync_file(0)
    try_chmod(tmp_path, 0o755)
    monkeypatch.setattr(os, "open", calls["open"])
    sync_folder(tmp_path)
    assert {name: call.call_count for name, call in calls.items()} == {"fsync": 2, "chmod": 1, "open": 1}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_disk_that_fails_is_reported(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_folder(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_file(0)
