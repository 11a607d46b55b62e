"""Read the end of a log."""

from pathlib import Path

from fluxgym.contract.regular_files import open_regular


def tail(path: Path, num_lines: int = 200, max_bytes: int = 65_536, *, start: int = 0) -> list[str]:
    """Return the last lines of a log, from at most max_bytes and none before the byte `start`; of a progress bar only the last state."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - max_bytes))
            data = file.read()
    except OSError:
        return []
    if size - start > max_bytes:
        data = data.partition(b"\n")[2] or data
    lines = data.decode("utf-8", "replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return (shown[:-1] if shown and not shown[-1] else shown)[-num_lines:]
