"""The images of a folder are read once for all requests, and always again after a change."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fluxgym.dataset import folder_index
from fluxgym.dataset.folder import ImageFolder
from fluxgym.dataset.folder_index import FolderIndex
from tests.support.photos import write_cats
from tests.support.runs import wait_for


@pytest.fixture
def folder(tmp_path):
    """Return a folder with three images."""
    return ImageFolder(write_cats(tmp_path / "cats", count=3, size=64))


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of the index, [seconds], which stands still."""
    now = [1000.0]
    monkeypatch.setattr(folder_index, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def scans(monkeypatch):
    """Return the names of the folders that were read."""
    read, found = folder_index.scan, []

    def counted(path):
        found.append(path.name)
        return read(path)

    monkeypatch.setattr(folder_index, "scan", counted)
    return found


def settle(index, clock):
    """Let the index see that the folder has not changed for a while, and read it."""
    for call in (index.count, index.captions, index.sizes):
        call()
    clock[0] += folder_index.SETTLED_S
    for call in (index.count, index.captions, index.sizes):
        call()


def test_folder_that_stays_same_is_read_once(folder, clock, scans):
    index = FolderIndex(folder.path)
    settle(index, clock)
    scans.clear()
    clock[0] += 1.0
    assert (index.count(), len(index.captions().texts), len(index.sizes())) == (3, 3, 3)
    assert scans == []


def test_every_change_through_fluxgym_is_seen_at_once(folder, clock):
    index = FolderIndex(folder.path)
    settle(index, clock)
    folder.set_caption("cat 0.png", "new")
    assert index.captions().texts["cat 0.png"] == "new"
    settle(index, clock)
    folder.remove("cat 1.png")
    assert (index.count(), list(index.captions().texts), len(index.sizes())) == (2, ["cat 0.png", "cat 2.png"], 2)


def test_changes_within_one_timestamp_tick_are_detected(folder, clock):
    index = FolderIndex(folder.path)
    for number in range(3):
        folder.set_caption("cat 0.png", f"caption {number}")
        os.utime(folder.path, ns=(1, 1))  # a file system whose time stamps are coarse
        assert index.captions().texts["cat 0.png"] == f"caption {number}"
    for number in (2, 1):
        folder.remove(f"cat {number}.png")
        os.utime(folder.path, ns=(1, 1))
        assert index.count() == number


@pytest.mark.parametrize(("stamp_ns", "waits"), [(7 * 10**9, folder_index.SETTLED_S), (7 * 10**9 + 1, folder_index.SETTLED_TICK_S)])
def test_read_is_cached_once_next_change_has_new_timestamp(stamp_ns, waits, folder, clock, scans):
    os.utime(folder.path, ns=(stamp_ns, stamp_ns))
    index = FolderIndex(folder.path)
    index.count()
    clock[0] += waits - 0.01
    index.count()
    assert len(scans) == 2
    clock[0] += 0.02
    index.count()
    index.count()
    assert len(scans) == 3


def test_added_and_removed_files_are_paired_again(folder, clock):
    index = FolderIndex(folder.path)
    settle(index, clock)
    (folder.path / "cat 1.txt").rename(folder.path / "cat 1.png.txt")
    (folder.path / "cat 2.txt").unlink()
    assert index.captions().pairing.of == {"cat 0.png": "cat 0.txt", "cat 1.png": "cat 1.png.txt"}
    (folder.path / "cat 0.png").unlink()
    (folder.path / "cat 0.png").mkdir()
    assert list(index.captions().texts) == ["cat 1.png", "cat 2.png"]


def test_caption_written_in_place_by_other_program_is_detected(folder, clock):
    index = FolderIndex(folder.path)
    settle(index, clock)
    (folder.path / "cat 0.txt").write_text("by an editor")
    clock[0] += folder_index.RECHECK_S + 0.1
    assert index.captions().texts["cat 0.png"] == "by an editor"


def test_many_requests_at_once_are_answered_by_one_read(folder, monkeypatch):
    read, now, reads, times, may_go_on = folder_index.scan, folder_index.monotonic, [], [], threading.Event()

    def slow(path):
        reads.append(path)
        assert may_go_on.wait(30)
        return read(path)

    def counted():
        times.append(now())
        return times[-1]

    monkeypatch.setattr(folder_index, "scan", slow)
    monkeypatch.setattr(folder_index, "monotonic", counted)
    index = FolderIndex(folder.path)
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: index.count(), range(20))
        wait_for(lambda: len(times) >= 22)  # all have come; the one that reads has looked at the clock three times
        may_go_on.set()
        assert list(answers) == [3] * 20
    assert len(reads) <= 2  # the first, and one for all who came during it


def test_captions_beyond_limit_are_read_again_and_not_kept(folder, clock, scans, monkeypatch):
    monkeypatch.setattr(folder_index, "MAX_KEPT_CHARACTERS", 20)
    index = FolderIndex(folder.path)
    settle(index, clock)
    scans.clear()
    for _ in range(2):
        assert index.captions().texts["cat 2.png"] == "sks cat, crop 2"
    assert scans == ["cats", "cats"]


def test_folder_that_is_created_later_is_found(tmp_path, clock):
    index = FolderIndex(tmp_path / "later")
    settle(index, clock)
    assert index.count() == 0
    write_cats(tmp_path / "later", count=1)
    assert (index.count(), index.captions().missing()) == (1, [])
