"""`make faults`: inject faults, all of them or those of some groups, and print one line for each; --write updates docs/reliability.md."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "sd-scripts"))  # the trainer's own modules make the tiny models

from tests.faults.report import DOC, Run, line_of, update
from tests.faults.result import Result, Row, first_lost
from tests.faults.suite import GROUPS, MAX_MINUTES

OWN_FOLDERS = {"HOME": "home", "XDG_CONFIG_HOME": "config", "FLUXGYM_LOCKS": "locks"}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--group", action="append", choices=list(GROUPS), metavar="NAME", help=f"only this group: {', '.join(GROUPS)}")
    parser.add_argument("--row", default="", metavar="TEXT", help="only the rows whose title contains this text")
    parser.add_argument("--share", type=float, default=1.0, help="try only this share of each")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other tries")
    parser.add_argument("--write", action="store_true", help="write the rows that are run into docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="print groups and rows with their tries and minutes, and run nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the rows that are asked for; return 0 if nothing was lost."""
    args = build_parser().parse_args(argv)
    rows = [row for name in args.group or GROUPS for row in GROUPS[name] if args.row in row.title]
    if args.list:
        print(listing())
        return 0
    if not rows:
        print("No row has this text in its title; --list prints them all.", file=sys.stderr)
        return 2
    lost = 0
    for row in rows:
        began = time.monotonic()
        result = run_row(row, args.share, args.seed)
        run = Run.now(time.monotonic() - began)
        print(
            f"{row.title:86} tried {result.tried:6}  held {result.held:6}  lost {result.lost:4}  {run.seconds:6.0f} s  {result.note}",
            flush=True,
        )
        lost += result.lost
        if args.write:
            update(DOC, GROUPS, {row.title: line_of(row, result, run)}, MAX_MINUTES)
    return 1 if lost else 0


def listing() -> str:
    """Return all groups and rows with their numbers of tries and minutes."""
    lines = []
    for name, rows in GROUPS.items():
        lines += [f"{name} (about {sum(row.minutes for row in rows):.0f} minutes)"]
        lines += [f"  {row.count:6} tries or rounds  {row.minutes:4g} min  {row.title}" for row in rows]
    return "\n".join(lines)


def run_row(row: Row, share: float, seed: int) -> Result:
    """Try a row in folders of its own; a row that breaks has lost."""
    with own_folders() as folder:
        try:
            return row.fault(folder, max(1, round(row.count * share)), seed)
        except Exception as error:  # noqa: BLE001 (whatever it is, the other rows follow)
            return Result(tried=1, held=0, note=first_lost([f"{type(error).__name__}: {error}"]))


@contextmanager
def own_folders() -> Iterator[Path]:
    """Yield an empty folder; meanwhile the user's home and the locks of this machine's devices are beside it."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as parent:
        before = {name: os.environ.get(name) for name in OWN_FOLDERS}
        os.environ.update({name: f"{parent}/{folder}" for name, folder in OWN_FOLDERS.items()})
        try:
            folder = Path(parent, "files")
            folder.mkdir()
            yield folder
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


if __name__ == "__main__":
    sys.exit(main())
