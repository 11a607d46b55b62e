"""The last lines of a log of any size."""

from pathlib import Path

from fluxgym.run.atomic import open_regular


def tail(path: Path, num_lines: int = 200, max_bytes: int = 65_536) -> list[str]:
    """Return the last lines of a log, at most max_bytes of it; of a progress bar's overwritten states only the last counts."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max_bytes))
            data = file.read()
    except OSError:
        return []
    if size > max_bytes:
        data = data.partition(b"\n")[2] or data
    lines = data.decode("utf-8", "replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return (shown[:-1] if shown and not shown[-1] else shown)[-num_lines:]
