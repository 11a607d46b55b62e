"""Open, read, append to and copy files that other programs may have replaced: only regular files, no links, up to a maximum size.

Opening a named pipe would block, a device or a giant may never end, and a link may show a file from anywhere on this machine. All of them raise
UnsafeFile, an OSError whose strerror says what the path is.
"""

import errno
import io
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}
IS_LINK = "it is a link, which is not followed"


class UnsafeFile(OSError):
    """A path that is not read or written: a link, a named pipe, a device, a folder, or a file above its limit."""

    @property
    def reason(self) -> str:
        """What the path is, as a clause: "it is a link, which is not followed"."""
        return str(self.strerror)


def open_regular(path: str | os.PathLike[str], *, follow_links: bool = False) -> io.BufferedReader:
    """Open a regular file to read.

    Only links at the end of the path count: a folder on the way may be a link to another disk.

    Raises:
        UnsafeFile: If the path is a link, a named pipe, a device or a folder.
        OSError: If the file cannot be opened for another reason.
    """
    return io.BufferedReader(io.FileIO(_opened(path, os.O_RDONLY, follow_links), "rb"))


def append_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """Open a regular file to append, without a buffer, and create it if it is missing.

    Raises:
        UnsafeFile, OSError: As `open_regular` does.
    """
    return io.FileIO(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, follow_links=False), "ab")


def update_regular(path: str | os.PathLike[str]) -> io.BufferedRandom:
    """Open an existing regular file to write over its start.

    Raises:
        UnsafeFile, OSError: As `open_regular` does.
    """
    return io.BufferedRandom(io.FileIO(_opened(path, os.O_RDWR, follow_links=False), "r+b"))


def read_regular(path: str | os.PathLike[str], max_bytes: int, *, follow_links: bool = False) -> bytes:
    """Return the content of a regular file.

    Raises:
        UnsafeFile: If it has more than max_bytes; then nothing is read.
    """
    handle = _opened(path, os.O_RDONLY, follow_links)
    try:
        size = os.fstat(handle).st_size
        parts, num_read = [], 0
        while size <= max_bytes and (part := os.read(handle, min(max(size, 4096), max_bytes) + 1 - num_read)):
            parts.append(part)
            num_read += len(part)
            size = max(size, num_read)  # it may grow
    finally:
        os.close(handle)
    if size > max_bytes:
        limit = f"{max_bytes >> 20} MB" if max_bytes >> 20 else f"{max_bytes // 1000} kB"
        raise UnsafeFile(errno.EOVERFLOW, f"it is larger than {limit}", os.fspath(path))
    return b"".join(parts)


def is_readable(path: str | os.PathLike[str], max_bytes: int) -> bool:
    """Return True if a path itself is a regular file of at most max_bytes."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size <= max_bytes


def irregular_entry(folder: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """Return the first entry of a folder that a library would wait for or fail on, and what it is: a named pipe, a socket or a device.

    Folders are not meant, and links are followed.
    """
    with suppress(OSError):
        for path in sorted(Path(folder).iterdir()):
            with suppress(OSError):
                kind = stat.S_IFMT(path.stat().st_mode)
                if kind not in (stat.S_IFREG, stat.S_IFDIR):
                    return path, KINDS.get(kind, "it is not a file")
    return None


def copy_regular(source: str | os.PathLike[str], target: str | os.PathLike[str], *, follow_links: bool = False) -> None:
    """Copy a regular file's content and time to a new file.

    Unlike shutil.copy2 it needs neither chmod nor extended attributes, which some volumes refuse.

    Raises:
        UnsafeFile, OSError: As `open_regular` does.
        FileExistsError: If the new file exists.
    """
    with open_regular(source, follow_links=follow_links) as old, Path(target).open("xb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        status = os.fstat(old.fileno())
    with suppress(OSError):
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _opened(path: str | os.PathLike[str], flags: int, follow_links: bool) -> int:
    """Return the file descriptor of a regular file; O_NONBLOCK keeps a pipe from blocking, and changes nothing for a regular file."""
    try:
        handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW), 0o666)
    except OSError as error:
        raise _explained(error, path, follow_links) from None
    mode = stat.S_IFMT(os.fstat(handle).st_mode)
    if mode == stat.S_IFREG:
        return handle
    os.close(handle)
    raise UnsafeFile(errno.EINVAL, KINDS.get(mode, "it is not a file"), os.fspath(path))


def _explained(error: OSError, path: str | os.PathLike[str], follow_links: bool) -> OSError:
    """Return an error of os.open as UnsafeFile if it is about the kind of the file."""
    if error.errno == errno.ELOOP and not follow_links:
        return UnsafeFile(errno.ELOOP, IS_LINK, os.fspath(path))
    if error.errno in (errno.ENXIO, errno.EISDIR):
        with suppress(OSError):
            return UnsafeFile(error.errno, KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "it is not a file"), os.fspath(path))
    return error
