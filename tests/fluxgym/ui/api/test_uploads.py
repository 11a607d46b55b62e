"""A file that is too large is refused before its bytes are read; a broken connection leaves no file."""

import asyncio
import shutil

import pytest
from starlette.requests import Request

from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import DatasetError, StorageError, TooLarge
from fluxgym.ui.api import uploads
from fluxgym.ui.api.uploads import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES, receive


def request(messages: list[dict], **headers: str) -> Request:
    """Return a request whose body comes as these messages."""

    async def next_message() -> dict:
        return messages.pop(0)

    scope = {
        "type": "http",
        "method": "PUT",
        "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
    }
    return Request(scope, next_message)


@pytest.mark.parametrize(("name", "limit"), [("a.png", MAX_IMAGE_BYTES), ("a.txt", MAX_CAPTION_BYTES)])
def test_declared_size_above_cap_is_refused_unread(tmp_path, name, limit):
    with pytest.raises(TooLarge, match="smaller"):
        asyncio.run(receive(request([], content_length=str(limit + 1)), name, ImageFolder(tmp_path)))


def test_broken_connection_leaves_no_file(tmp_path):
    messages = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    with pytest.raises(DatasetError, match="connection was interrupted"):
        asyncio.run(receive(request(messages), "a.png", ImageFolder(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_stalled_upload_is_aborted(tmp_path, monkeypatch):
    async def never() -> dict:
        await asyncio.sleep(60)
        return {}

    monkeypatch.setattr(uploads, "IDLE_S", 0.01)
    with pytest.raises(DatasetError, match="no data arrived"):
        asyncio.run(receive(Request({"type": "http", "method": "PUT", "headers": []}, never), "a.png", ImageFolder(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_disk_space_is_checked_during_upload(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    free = iter([10**12, 10**12, uploads.MIN_FREE_BYTES])
    monkeypatch.setattr(uploads, "CHECK_BYTES", 4)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free)))
    messages = [{"type": "http.request", "body": b"12345", "more_body": True}, {"type": "http.request", "body": b"67890"}]
    with pytest.raises(StorageError, match="free on the disk"):
        asyncio.run(receive(request(messages), "a.png", ImageFolder(tmp_path)))
    assert list(tmp_path.iterdir()) == []
