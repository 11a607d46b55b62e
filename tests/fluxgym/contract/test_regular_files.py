"""Only regular files are opened, without following links, and never more than a limit is read."""

import os
import socket

import pytest

from fluxgym.contract.regular_files import UnsafeFile, append_regular, copy_regular, open_regular, read_regular, update_regular

KINDS = {
    "link": (lambda path: path.symlink_to("/etc/hostname"), "link"),
    "link to nothing": (lambda path: path.symlink_to(path.with_name("gone")), "link"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "link"),
    "pipe": (os.mkfifo, "named pipe"),
    "folder": (lambda path: path.mkdir(), "folder"),
    "socket": (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "socket"),
}
USES = {
    "open": open_regular,
    "read": lambda path: read_regular(path, 100),
    "append": append_regular,
    "update": update_regular,
    "copy": lambda path: copy_regular(path, path.with_name("copy")),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(("make", "named"), KINDS.values(), ids=KINDS)
def test_anything_but_regular_file_is_refused_at_once(make, named, use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x"
    make(path)
    with pytest.raises(UnsafeFile, match=named):
        use(path)
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_devices_are_refused_also_through_followed_link(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(UnsafeFile, match="device"):
        read_regular(tmp_path / "zero", 100, follow_links=True)
    with pytest.raises(UnsafeFile, match="device"):
        open_regular("/dev/zero")


def test_giant_is_not_read_and_file_at_limit_is(tmp_path):
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsafeFile, match="larger than 1 MB"):
        read_regular(tmp_path / "giant", 1 << 20)
    (tmp_path / "a").write_bytes(b"x" * 5000)
    assert read_regular(tmp_path / "a", 5000) == b"x" * 5000
    with pytest.raises(UnsafeFile, match="larger than 4 kB"):
        read_regular(tmp_path / "a", 4999)
    assert read_regular("/proc/self/status", 1 << 20).startswith(b"Name:")  # its size is 0


def test_other_errors_are_not_changed(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 100)
    with pytest.raises(NotADirectoryError):
        open_regular("/etc/hostname/x")
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        copy_regular(tmp_path / "a", tmp_path / "a")


def test_file_is_appended_to_updated_and_copied(tmp_path):
    for text in (b"one", b"two"):
        with append_regular(tmp_path / "a") as file:
            file.write(text)
    with update_regular(tmp_path / "a") as file:
        file.write(b"ONE")
    os.utime(tmp_path / "a", (1, 2))
    copy_regular(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"ONEtwo"
    assert (tmp_path / "b").stat().st_mtime == 2


def test_folder_on_way_may_be_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert read_regular(tmp_path / "linked" / "a", 10) == b"x"
