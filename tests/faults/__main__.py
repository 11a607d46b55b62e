"""`make faults`: inject every fault many times and print one line for each; --write updates docs/reliability.md."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "sd-scripts"))  # the trainer's own modules make the tiny models

from tests.faults import exact, truth
from tests.faults.truth import ROOT, Result

SUITE = (
    ("A dead trainer's PID is given to another process", truth.reused_pids, 1000),
    ("A dead trainer's PID is given to another group's leader while a daemon is ended", truth.reused_groups, 100),
    ("The machine or container restarts under a training", truth.reboots, 100),
    ("A trainer leaves deaf daemons in sessions of their own", truth.escaping_children, 100),
    ("One name is started 50 times at the same moment", truth.parallel_starts, 100),
    ("A ui_state.json is cut, flipped, swapped, re-encoded", truth.damaged_states, 100_000),
    ("A process is killed while it writes a state", truth.killed_writes, 500),
    ("A training is stopped and killed at random steps, then resumed", exact.exact_resumes, 40),
    ("A healthy but slow training is watched (five phases each)", truth.healthy_phases, 1000),
)
DOC = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability: fault injection

Written by `make faults ARGS=--write` (seeded; a short form runs in `make test`). "Lost" counts the tries in which the list showed something untrue, a process
outlived its run or was signaled wrongly, or a file could not be read.

"""


def model_of_truth(share: float) -> Result:
    """Run the state machine that holds the list to a model of the truth; each example is up to 20 things done to two runs."""
    examples = max(10, round(500 * share))
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "tests/integration/test_truth.py"]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"FLUXGYM_EXAMPLES": str(examples)}, capture_output=True, check=False)
    return Result(tried=examples, held=examples if done.returncode == 0 else 0, note="" if done.returncode == 0 else "see make test")


def main() -> int:
    """Run the suite and return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--share", type=float, default=1.0, help="try only this share of each")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    args = parser.parse_args()
    rows = []
    for title, fault, count in SUITE:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            os.environ["FLUXGYM_LOCKS"] = f"{folder}/locks"
            rows.append((title, fault(Path(folder), max(1, round(count * args.share))), time.monotonic() - began))
        _say(rows[-1])
    began = time.monotonic()
    rows.append(
        ("Starts, stops, kills, freezes, reboots in any order (two runs, one device)", model_of_truth(args.share), time.monotonic() - began)
    )
    _say(rows[-1])
    if args.write:
        DOC.write_text(HEAD + _table(rows), encoding="utf-8")
    return 0 if all(result.held == result.tried for _, result, _ in rows) else 1


def _say(row: tuple[str, Result, float]) -> None:
    title, result, seconds = row
    print(
        f"{title:76} tried {result.tried:6}  held {result.held:6}  lost {result.tried - result.held:4}  {seconds:6.0f} s  {result.note}",
        flush=True,
    )


def _table(rows: list[tuple[str, Result, float]]) -> str:
    lines = ["| fault | tried | held | lost | seconds | |", "|---|---:|---:|---:|---:|---|"]
    lines += [f"| {title} | {r.tried} | {r.held} | {r.tried - r.held} | {seconds:.0f} | {r.note} |" for title, r, seconds in rows]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    return "\n".join(lines) + f"\n\nOn {machine}, {time.strftime('%Y-%m-%d')}.\n"


if __name__ == "__main__":
    sys.exit(main())
