"""The table in docs/reliability.md: a line per row of the suite, with the date and commit of its last run."""

import fcntl
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.result import ROOT, Result, Row

DOC = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability: fault injection

`make faults` injects faults into runs, many times and with seeds. Each of its groups takes at most {minutes} minutes on two cores and can be run by itself in
the background:

```
make faults ARGS=--list                                        # groups, rows, tries and minutes
make faults ARGS="--group files --write" > faults.log 2>&1 &   # run a group, and write its rows below
```

Each row has the date and commit of its own last run; "+" means that files had been changed since that commit. `--share 0.1` tries a tenth of each row. A short
form of each row runs in `make test`. "Lost" counts the tries in which the list showed something untrue, a process outlived its run or was signaled wrongly, a
file was torn or could not be read, a secret was sent, or a request was not answered. Rows that run test modules count the cases of their tests; a case that
cannot be tried on the machine is not counted.
"""
TABLE = "| fault | tried | held | lost | seconds | run | |\n|---|---:|---:|---:|---:|---|---|"
NOT_RUN = "| | | | | never run | |"


@dataclass(frozen=True, kw_only=True)
class Run:
    """When and on what a row was run."""

    seconds: float
    date: str
    commit: str
    cores: int

    @classmethod
    def now(cls, seconds: float) -> "Run":
        """Return a run that has just ended, of the commit that is checked out."""
        return cls(seconds=seconds, date=time.strftime("%Y-%m-%d"), commit=_commit(), cores=os.cpu_count() or 1)


def _commit() -> str:
    """Return the short id of the commit, with "+" if tracked files differ from it, other than this document."""
    commit = _git("rev-parse", "--short", "HEAD").strip()
    changed = [
        line for line in _git("status", "--porcelain", "--untracked-files=no").splitlines() if not line.endswith("docs/reliability.md")
    ]
    return commit + "+" * bool(changed)


def _git(*argv: str) -> str:
    done = subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else "unknown"


def line_of(row: Row, result: Result, run: Run) -> str:
    """Return the table's line of a row that was run."""
    seed = "" if result.seed is None else f", seed {result.seed}"
    where = f"{run.date}, {run.commit}, {run.cores} cores{seed}"
    return f"| {row.title} | {result.tried} | {result.held} | {result.lost} | {run.seconds:.0f} | {where} | {result.note} |"


def document(groups: Mapping[str, tuple[Row, ...]], lines: Mapping[str, str], max_minutes: int) -> str:
    """Return the document; `lines` has the line of each row that was run, by title."""
    parts = [HEAD.format(minutes=max_minutes)]
    for name, rows in groups.items():
        parts += [f"\n## {name}\n\n{TABLE}\n" + "".join(f"{lines.get(row.title, f'| {row.title} {NOT_RUN}')}\n" for row in rows)]
    return "".join(parts)


def lines_in(text: str) -> dict[str, str]:
    """Return the lines of a document's tables by title, without those that were never run."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and line not in TABLE and not line.endswith(NOT_RUN)]
    return {line.split("|")[1].strip(): line for line in lines}


def update(path: Path, groups: Mapping[str, tuple[Row, ...]], lines: Mapping[str, str], max_minutes: int) -> None:
    """Write some lines into the document and keep the others; two groups that are run at the same time take turns."""
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = document(groups, lines_in(file.read()) | dict(lines), max_minutes)
        file.seek(0)
        file.truncate()
        file.write(text)
