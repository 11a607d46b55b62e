"""Check the type of a path without raising an exception if it cannot be read."""

from pathlib import Path


def is_regular(path: Path) -> bool:
    """Return True if a path is a regular file or a link to one; False too if its folder may not be read, where Path.is_file raises."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_served(path: Path) -> bool:
    """Return True if a file of a run may be sent: a regular file; neither it nor its folder is a link."""
    try:
        return not path.is_symlink() and path.parent.resolve() == path.parent and path.is_file()
    except OSError:
        return False


def is_missing(path: Path) -> bool:
    """Return True if a path or its folder does not exist; False if that cannot be known, such as while a network drive fails."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
